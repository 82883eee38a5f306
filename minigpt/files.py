"""Writing outputs: byte-stable formats, a temporary name first, then a rename."""

import contextlib
import errno
import glob
import hashlib
import itertools
import json
import math
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from minigpt.errors import DataError
from minigpt.process import is_alive

ABANDONED_SECONDS = 24 * 3600
"""Without a change for so long, a temporary file of another machine has no writer any more."""
NO_ROOM = {errno.ENOSPC, errno.EFBIG, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""What a system answers to a write that it has no place for."""
TEMPORARY = re.compile(r"\.([0-9a-f]{8})-(\d+)-\d+\.part$")
_numbers = itertools.count()


def to_json(value: Any) -> str:
    """JSON with sorted keys and a final newline: the same value gives the same bytes.

    Raises:
        ValueError: a number is not finite (JSON has no word for it).
    """
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def rounded(value: Any, digits: int = 6) -> Any:
    """`value` with every float in it rounded to `digits` significant digits, as results are."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value:
        return round(value, digits - 1 - math.floor(math.log10(abs(value))))
    return value


def at_home(path: str | Path) -> Path:
    """A path as typed, its ~ or ~user read as the shell does; as it is where there is no such home.

    (`Path.expanduser` raises a RuntimeError there.)
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


@cache
def _here() -> str:
    """This machine since it was started, and its process numbers (a container has its own)."""
    facts = [platform.node()]
    with contextlib.suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("".join(facts).encode()).hexdigest()[:8]


def temporary(path: Path) -> Path:
    """A name beside `path` that no other process uses: .NAME.MACHINE-PID-NUMBER.part."""
    return path.with_name(f".{path.name}.{_here()}-{os.getpid()}-{next(_numbers)}.part")


def abandoned(path: Path) -> list[Path]:
    """What stands beside `path` under names of `temporary` whose processes are gone."""
    parts = []
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        if (named := TEMPORARY.search(part.name)) is None:
            continue
        with contextlib.suppress(OSError):  # another process removes it meanwhile
            silent = time.time() - part.stat().st_mtime > ABANDONED_SECONDS
            if silent or (named[1] == _here() and not is_alive(int(named[2]))):
                parts.append(part)
    return parts


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name; it takes its own only when the block ends well."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _fresh(path)
        try:
            with part.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with new_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, newlines as they are, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `to_json(value)`, whole or not at all."""
    write_text(path, to_json(value))


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill beside `out`; it takes that name only when the block ends well."""
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        part = _fresh(out)
        try:
            part.mkdir()
            yield part
            before = temporary(out)  # so that nobody sees `out` half removed
            with contextlib.suppress(FileNotFoundError):
                out.replace(before)
            part.replace(out)
            remove(before)
        finally:
            remove(part)


def _fresh(path: Path) -> Path:
    """A temporary name, with what killed writers of `path` left out of the way."""
    for part in abandoned(path):
        remove(part)
    return temporary(path)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal in a block that writes `path` into our error.

    No room is about `path`; another refusal is about the file that it names, which may be one that
    the block reads. What names none, a network's for one, is left as it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, FileNotFoundError):
            raise
        refused = Path(os.fsdecode(error.filename)) if error.filename else None
        why = os.strerror(error.errno)
        if error.errno in NO_ROOM:
            problem = f"{path}: cannot write: {why}. Nothing was left half-written. Make room"
        elif refused is None:
            raise
        elif _belongs_to(refused, path):
            problem = (
                f"{path}: cannot write: {why} ({refused}). Nothing was left half-written. "
                "Mend the permissions"
            )
        else:
            problem = f"{refused}: {why}. {path} was not written. Mend that file"
        raise DataError(f"{problem}, then run the same command.") from error


def _belongs_to(refused: Path, path: Path) -> bool:
    """Whether a refused name is `path`, lies in it, above it, or under its temporary name."""
    refused, path = refused.absolute(), path.absolute()
    names = {part.name for part in (refused, *refused.parents) if part.parent == path.parent}
    ours = any(name == path.name or name.startswith(f".{path.name}.") for name in names)
    return ours or path.is_relative_to(refused)
