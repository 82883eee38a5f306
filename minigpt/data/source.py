"""What every source of text states, and what the code around it may ask of it.

A kind is a class of its own in minigpt/data/sources; nothing else knows the kinds by name.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from minigpt.config import Config
from minigpt.data.archives import match
from minigpt.data.pin import Pin
from minigpt.data.readers import SUFFIXES
from minigpt.roles import RoleName

if TYPE_CHECKING:
    from minigpt.run import Run

Globs = tuple[str, ...]


class WorkSplits(Config):
    """Whole works held out by name."""

    kind: Literal["works"] = "works"
    val: Globs
    """Globs over work names; each must match a work."""
    test: Globs
    """Globs over work names; each must match a work."""


Year = Annotated[int, Field(ge=0, le=9999)]
"""Four digits, as the name of a work holds it."""


class YearSplits(Config):
    """Held out by time: what a work is called must hold its year in four digits."""

    kind: Literal["years"] = "years"
    val_from: Year
    """First year of validation; all earlier years train."""
    test_from: Year
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

    noun: ClassVar[str]
    """One of it, in the line that the download ends with: `2 packages`."""
    local: ClassVar[bool] = False
    """Its files lie on this machine, so nothing is fetched and each file is its own origin."""
    on_hub: ClassVar[bool] = False
    """`place` begins with the name of a dataset on the Hugging Face hub."""

    kind: str
    role: RoleName
    """Which training stage reads it."""
    licence: Annotated[str, StringConstraints(min_length=1)]
    """Licence of the text, not of the package around it."""
    attribution: str | None = None
    """Who is to be named, and how."""
    lang: str = "und"
    """Language of the text (BCP 47); und: not stated, so not checked."""
    files: Globs = tuple(f"**/*{suffix}" for suffix in SUFFIXES)
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
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups != 1:
            raise ValueError(f"needs one group, the name of the work; it has {groups}")
        return value

    @property
    def place(self) -> str:
        """Where it is had, for lineage and cards: `shakespeare 0.6`, an address, a folder."""
        raise NotImplementedError

    @property
    def sha256_of_archive(self) -> str | None:
        """The digest that params.yaml pins; None where it pins none."""
        raise NotImplementedError

    def archive_name(self, name: str) -> str:
        """The file in data/archives that holds the source called `name`."""
        raise NotImplementedError

    def fetch(self, name: str, target: Path, local: Path, run: "Run") -> None:
        """Put the archive of the source called `name` at `target`. `local` is data/local.

        Raises:
            DataError: it cannot be had, or is not the pinned one.
        """
        raise NotImplementedError

    def folder(self, root: Path) -> Path:
        """Of a local source, where the checkout `root` has its files."""
        raise NotImplementedError

    def rebuilt_in(self, name: str) -> Path | None:
        """Of a local source, where a build in another folder has its files; None: in its commit."""
        raise NotImplementedError

    def packed(self, root: Path) -> bytes:
        """Of a local source, the archive of its files as they are now in the checkout `root`."""
        raise NotImplementedError

    def chooses(self, path: str) -> bool:
        """Whether a path inside is one of its texts; the case of a suffix does not matter."""
        stem, dot, suffix = path.rpartition(".")
        spellings = (path, f"{stem}{dot}{suffix.lower()}")
        return any(match(self.files, p) for p in spellings) and not any(
            match(self.exclude, p) for p in spellings
        )


class PinnedSource(BaseSource):
    """One file that is fetched once and kept in the cache under its digest.

    Each kind declares `pin` itself, behind its other fields: params.yaml has them in that order.
    """

    if TYPE_CHECKING:
        pin: Pin

    @property
    def sha256_of_archive(self) -> str | None:
        """As pinned."""
        return self.pin.sha256

    def archive_name(self, name: str) -> str:
        """The file's own name."""
        del name  # an archive keeps the name under which it is published
        return self.pin.filename

    def fetch(self, name: str, target: Path, local: Path, run: "Run") -> None:
        """Copy the file out of the cache; a missing one is brought there first."""
        del local
        from minigpt.data.obtain import cached, copy

        copy(cached(self.pin, run, lambda archive: self.bring(name, archive, run)), target)

    def bring(self, name: str, archive: Path, run: "Run") -> None:
        """Fetch the pinned file to `archive`, checked."""
        raise NotImplementedError
