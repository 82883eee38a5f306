"""Folders of data/local that were copied there from a person's own, and from where."""

import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minigpt.files import write_json

LOCAL = Path("data/local")


def record_of(copy: Path) -> Path:
    """The list of what was copied to a folder of data/local, beside it; DVC does not look at it."""
    return copy.with_name(f".{copy.name}.json")


def write_record(copy: Path, origin: Path, digests: Mapping[str, str], options: str = "") -> None:
    """Write down from where, path inside → sha256, and the options that the command had besides."""
    record = {"copied_from": str(origin), "files": dict(digests), "options": options}
    write_json(record_of(copy), record)


def copied_before(copy: Path) -> Mapping[str, str]:
    """Path → sha256 of what the last copy put there."""
    files = _record(copy).get("files")
    return files if isinstance(files, dict) else {}


def copied_from(copy: Path) -> str | None:
    """The folder that a folder of data/local is a copy of; None where it is none."""
    origin = _record(copy).get("copied_from") if copy.is_dir() else None
    return origin if isinstance(origin, str) else None


def preset_command(folder: str | Path, *, link: bool = False) -> str:
    """What takes a person's folder, as a shell reads it."""
    return f"minigpt preset local --path {shlex.quote(str(folder))}{' --link' if link else ''}"


def command_for(copy: Path) -> str:
    """What copies a folder of data/local again."""
    return preset_command(copied_from(copy) or "DIR") + str(_record(copy).get("options") or "")


def advice(names: Iterable[str], root: Path = Path()) -> str:
    """Where to mend the texts of these sources, for those that are copies; else nothing."""
    copies = {name: root / LOCAL / name for name in sorted(set(names))}
    return "\n".join(
        f"{LOCAL.as_posix()}/{name} is a copy of {copied_from(copy)}: mend the text there, then "
        f"copy it again: {command_for(copy)}"
        for name, copy in copies.items()
        if copied_from(copy)
    )


def _record(copy: Path) -> dict[str, Any]:
    try:
        record: Any = json.loads(record_of(copy).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
