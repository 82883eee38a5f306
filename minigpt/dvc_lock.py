"""What dvc.lock says of the stages that were built: hashes of what each read and wrote."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

LOCK = "dvc.lock"


def stages_of(lock: bytes | None) -> dict[str, Any]:
    """The stages of a dvc.lock; none where it is missing or no dvc.lock."""
    try:
        # In C: the standard loader takes ten times as long.
        read = yaml.load(lock or b"", getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
        return dict(read["stages"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
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
