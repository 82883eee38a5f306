"""Plain text: a file is a text."""

from collections.abc import Iterator

from minigpt.data.reader import Piece, Reader
from minigpt.data.text import decode


def read(path: str, data: bytes) -> Iterator[Piece]:
    """The whole file."""
    text, facts = decode(data)
    yield Piece(path, text, facts)


ENTRY = Reader(suffixes=(".txt", ".md"), read=read)
