"""What a reader gives, and what it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Piece:
    """One text as it lay in a file."""

    path: str
    """Of the file in its source."""
    text: str
    facts: dict[str, Any]
    """What could not be decoded, and where; empty where all is well."""
    line: int | None = None
    """The record's, counted from 1, where a file holds several texts."""
    work: str | None = None
    """The work, where a record names it."""

    @property
    def name(self) -> str:
        """Of the text in its source, for ids; not to be cut apart again."""
        return self.path if self.line is None else f"{self.path}#{self.line}"


@dataclass(frozen=True)
class Reader:
    """A file format."""

    suffixes: tuple[str, ...]
    """Lower case, with the dot."""
    read: Callable[[str, bytes], Iterator[Piece]]
    """(path, bytes) → the texts; raises DataError naming path and line where it is not the format.
    """
