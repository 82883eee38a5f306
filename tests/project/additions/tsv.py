"""Tab-separated lines: the first field of a line is a work, the second its text."""

from collections.abc import Iterator

from minigpt.data.reader import Piece, Reader
from minigpt.data.text import decode
from minigpt.errors import DataError


def read(path: str, data: bytes) -> Iterator[Piece]:
    """A text a line."""
    decoded, facts = decode(data)
    for number, line in enumerate(decoded.splitlines(), start=1):
        work, tab, text = line.partition("\t")
        if not tab:
            raise DataError(f"{path}: line {number} has no tab between work and text")
        yield Piece(path, text, facts, number, work)


ENTRY = Reader(suffixes=(".tsv",), read=read)
