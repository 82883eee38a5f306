"""What dvc.lock says of the stages that were built: hashes of what each read and wrote."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from minigpt.errors import DataError
from minigpt.graph import UNREADABLE

LOCK = "dvc.lock"


def read_stages(lock: bytes) -> dict[str, Any]:
    """The stages of a dvc.lock.

    Raises:
        DataError: it is none.
    """
    try:
        # In C: the standard loader takes ten times as long.
        read = yaml.load(lock, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        stages = dict(read.get("stages") or {})
        for stage in stages.values():
            hashes([*stage.get("deps", []), *stage.get("outs", [])])
    except UNREADABLE as error:
        raise DataError(f"{LOCK} cannot be read. Run: git checkout {LOCK}") from error
    return stages


def stages_of(lock: bytes | None) -> dict[str, Any]:
    """The stages of a dvc.lock; none where it is missing or no dvc.lock."""
    try:
        return read_stages(lock or b"")
    except DataError:
        return {}


def hashes(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Path -> md5 of a stage's deps or outs in a dvc.lock."""
    return {str(entry["path"]): str(entry["md5"]) for entry in entries if "md5" in entry}


def outputs_of(lock: Mapping[str, Any]) -> dict[str, str]:
    """Output -> md5, of every stage in a dvc.lock."""
    return {
        out["path"]: out["md5"]
        for stage in lock.values()
        for out in stage.get("outs", [])
        if "md5" in out
    }
