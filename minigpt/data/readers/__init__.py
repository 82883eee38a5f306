"""How files become texts: every module in this folder reads one format, found by itself.

A new format is a new module with `READER = Reader(suffixes, read)`; CONTRIBUTING says how.
"""

import importlib
import pkgutil

from minigpt.data.readers.piece import Piece, Reader
from minigpt.data.readers.text import READER as PLAIN_TEXT

__all__ = ["READERS", "SUFFIXES", "Piece", "reader_of"]


def _readers() -> list[Reader]:
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    found = [module.READER for module in modules if hasattr(module, "READER")]
    return sorted(found, key=lambda reader: reader is not PLAIN_TEXT)


READERS: dict[str, Reader] = {suffix: reader for reader in _readers() for suffix in reader.suffixes}
"""Suffix, lower case with its dot → what reads such a file. Plain text comes first."""
SUFFIXES = tuple(READERS)


def reader_of(path: str) -> Reader:
    """The reader for a file by its suffix in any case; what no other claims is plain text."""
    return next(
        (READERS[suffix] for suffix in READERS if path.lower().endswith(suffix)), PLAIN_TEXT
    )
