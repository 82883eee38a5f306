"""One digest for everything: sha256 over sorted relative paths and file contents."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

IGNORED = {"__pycache__", ".gitignore", ".DS_Store"}  # written by Python, DVC and macOS, not by us


def file_digest(path: Path) -> str:
    """sha256 of one file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """The files at or under `path`, sorted by relative POSIX path; caches left out."""
    if path.is_file():
        return [path]
    found = [p for p in path.rglob("*") if p.is_file() and not IGNORED.intersection(p.parts)]
    return sorted(found, key=lambda p: p.relative_to(path).as_posix())


def digest(path: Path) -> str:
    """Digest of a file (its sha256) or of a folder (over its paths and contents).

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    if path.is_file():
        return file_digest(path)
    if not path.is_dir():
        raise FileNotFoundError(path)
    lines = (f"{file_digest(p)}  {p.relative_to(path).as_posix()}" for p in files_of(path))
    return text_digest(lines)


def text_digest(lines: Iterable[str]) -> str:
    """sha256 of lines joined by newlines, in hex."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
