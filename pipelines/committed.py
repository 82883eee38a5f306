"""Whether this machine made the bytes that the committed dvc.lock names, and if not, why not."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from minigpt.machine import Machine

LOCK, MADE_ON = "dvc.lock", "metrics/pretrain.json"  # its `machine` is the platform fingerprint


def note(root: Path) -> str | None:
    """What to tell a person whose outputs differ from the committed ones though the inputs do not.

    None where nothing of the kind happened, or git holds no dvc.lock yet.
    """
    before, now = committed(root, LOCK), (root / LOCK).read_text(encoding="utf-8")
    if before is None:
        return None
    stages = differing(stages_of(before), stages_of(now))
    if not stages:
        return None
    there = json.loads(committed(root, MADE_ON) or "{}").get("machine")
    return (
        f"{', '.join(stages)}: from the same inputs other bytes than in the committed {LOCK}, "
        f"{reason(there)}"
    )


def reason(there: Mapping[str, Any] | None) -> str:
    """Why the bytes differ, as far as the fingerprint of the other machine tells."""
    if there is None:
        return "which does not say on which machine it was made"
    here = Machine.load().fingerprint()
    words = [f"{k} {there.get(k)} there, {v} here" for k, v in here.items() if there.get(k) != v]
    if words:
        return f"which was made on another kind of machine: {' · '.join(words)}"
    return "though it was made on this kind of machine. That should not be: minigpt verify champion"


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Stages with the same command, deps and params in both locks, and other outputs."""

    def inputs(stage: Mapping[str, Any]) -> Any:
        deps = {dep["path"]: dep["md5"] for dep in stage.get("deps", [])}
        return stage["cmd"], deps, stage.get("params", {})

    def outputs(stage: Mapping[str, Any]) -> dict[str, str]:
        return {out["path"]: out["md5"] for out in stage.get("outs", [])}

    return [
        name
        for name, stage in now.items()
        if name in before
        and inputs(before[name]) == inputs(stage)
        and outputs(before[name]) != outputs(stage)
    ]


def stages_of(lock: str) -> dict[str, Any]:
    """The stages of a dvc.lock."""
    return dict((yaml.safe_load(lock) or {}).get("stages", {}))


def committed(root: Path, path: str) -> str | None:
    """A file as the checked-out commit holds it; None where it does not."""
    command = ["git", "show", f"HEAD:./{path}"]
    done = subprocess.run(command, cwd=root, capture_output=True, check=False)
    return None if done.returncode else done.stdout.decode()
