"""Writing outputs: byte-stable formats, a temporary name first, then a rename."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from minigpt.errors import DataError


def to_json(value: Any) -> str:
    """JSON with sorted keys and a final newline: the same value gives the same bytes.

    Raises:
        ValueError: a number is not finite (JSON has no word for it).
    """
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def rounded(value: Any, digits: int = 6) -> Any:
    """`value` with every float in it rounded to `digits` significant digits (for metrics files)."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float) and math.isfinite(value) and value:
        return round(value, digits - 1 - math.floor(math.log10(abs(value))))
    return value


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write under a temporary name; it takes its own only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    with full_disk(path):
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


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
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    with full_disk(out):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            shutil.rmtree(out, ignore_errors=True)
            temporary.replace(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write (disk full, quota, size limit) into our error."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, FileNotFoundError):
            raise
        raise DataError(
            f"{path}: cannot write: {os.strerror(error.errno)}. Nothing was left half-written. "
            "Make room or mend the permissions, then run the same command."
        ) from error
