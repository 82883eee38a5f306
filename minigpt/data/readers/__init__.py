"""One module a file format, whose `ENTRY` is a Reader. To add one: CONTRIBUTING.md."""

from minigpt.data.reader import Piece, Reader
from minigpt.data.readers.text import ENTRY as PLAIN_TEXT
from minigpt.entries import entries

__all__ = ["READERS", "SUFFIXES", "Piece", "reader_of"]


def _readers() -> list[Reader]:
    return sorted(
        entries("minigpt.data.readers").values(), key=lambda reader: reader is not PLAIN_TEXT
    )


READERS: dict[str, Reader] = {suffix: reader for reader in _readers() for suffix in reader.suffixes}
"""Suffix, lower case with its dot → what reads such a file. Plain text comes first."""
SUFFIXES = tuple(READERS)


def reader_of(path: str) -> Reader:
    """The reader for a file by its suffix in any case; what no other claims is plain text."""
    return next(
        (READERS[suffix] for suffix in READERS if path.lower().endswith(suffix)), PLAIN_TEXT
    )
