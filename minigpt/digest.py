"""One digest for everything: sha256 over sorted relative paths and file contents."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

IGNORED = {"__pycache__", ".gitignore", ".DS_Store"}  # written by Python, DVC and macOS, not by us
MEMORY = Path(".work/digests.sqlite")
COARSEST_NS = 2 * 10**9  # FAT's; no file system that we know of tells times less finely


def file_digest(path: Path) -> str:
    """sha256 of one file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_of(path: Path) -> list[Path]:
    """The files at or under `path`, sorted by relative POSIX path; caches left out."""
    if path.is_file():
        return [path]
    files = [p for p in path.rglob("*") if p.is_file() and not IGNORED.intersection(p.parts)]
    return sorted(files, key=lambda p: p.relative_to(path).as_posix())


def digest(path: Path, of_file: Callable[[Path], str] = file_digest) -> str:
    """Digest of a file (its sha256) or of a folder (over its paths and contents).

    `of_file` gives the sha256 of a file to who knows it already.

    Raises:
        FileNotFoundError: there is nothing at `path`.
    """
    if path.is_file():
        return of_file(path)
    if not path.is_dir():
        raise FileNotFoundError(path)
    lines = (f"{of_file(p)}  {p.relative_to(path).as_posix()}" for p in files_of(path))
    return text_digest(lines)


def text_digest(lines: Iterable[str]) -> str:
    """sha256 of lines joined by newlines, in hex."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@contextlib.contextmanager
def remembered(root: Path) -> Iterator[Callable[[Path], str]]:
    """`file_digest`, which reads no file again that looks as it did when it was hashed.

    Size, times and inode tell, as they do for git and DVC. A file that changed so shortly before
    that a further change may leave the same time is hashed, and not remembered (git calls it racy).
    No proof may rest on it: verification and registration hash what they state.
    """
    new: dict[str, tuple[str, str]] = {}
    try:
        memory, now = _open_memory(root / MEMORY)
    except (OSError, sqlite3.Error):  # nothing ever ran here, the disk is full: no memory
        yield file_digest
        return

    def of_file(path: Path) -> str:
        name, looks, changed = str(path.absolute()), *_looks(path)
        with contextlib.suppress(sqlite3.Error):
            query = "select sha256 from files where path = ? and looks = ?"
            if row := memory.execute(query, (name, looks)).fetchone():
                return str(row[0])
        sha256 = file_digest(path)
        if changed + COARSEST_NS < now and _looks(path) == (looks, changed):
            new[name] = (looks, sha256)
        return sha256

    with contextlib.closing(memory):
        yield of_file
        with contextlib.suppress(sqlite3.Error), memory:
            rows = [(name, *entry) for name, entry in new.items()]
            memory.executemany("insert or replace into files values (?, ?, ?)", rows)


def _open_memory(path: Path) -> tuple[sqlite3.Connection, int]:
    """The store of digests, and what time it is by the clock of its file system."""
    path.touch()
    now = path.stat().st_mtime_ns
    memory = sqlite3.connect(path, timeout=1)
    try:
        memory.execute("create table if not exists files (path primary key, looks, sha256)")
    except sqlite3.Error:
        memory.close()
        raise
    return memory, now


def _looks(path: Path) -> tuple[str, int]:
    """What tells a file from one that was changed, and when it changed last."""
    about = path.stat()
    times = (about.st_mtime_ns, about.st_ctime_ns)
    return " ".join(map(str, (about.st_dev, about.st_ino, about.st_size, *times))), max(times)
