"""Whether this machine made the bytes that the committed dvc.lock names, and if not, why not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt.dvc_lock import LOCK, stages_of
from minigpt.git import run_git

MADE_ON = "results/pretrain.json"  # its `machine` is the platform fingerprint


def note(root: Path, ref: str = "champion") -> str | None:
    """What to tell a person whose outputs differ from the committed ones though the inputs do not.

    None where nothing of the kind happened, or git holds no dvc.lock yet. `ref` is what commands
    call the version that was made.
    """
    before, now = committed(root, LOCK), (root / LOCK).read_bytes()
    stages = differing(stages_of(before), stages_of(now))
    if not stages:
        return None
    there = json.loads(committed(root, MADE_ON) or b"{}").get("machine")
    return (
        f"{', '.join(stages)}: from the same inputs other bytes than in the committed {LOCK}, "
        f"{reason(there, ref)}"
    )


def reason(there: Mapping[str, Any] | None, ref: str) -> str:
    """Why the bytes differ, as far as the fingerprint of the other machine tells."""
    from minigpt.registry.verification.verify import other_machine

    if there is None:
        return "which does not say on which machine it was made"
    if other := other_machine(there):
        words = " · ".join(f"{name} {values}" for name, values in other.items())
        return f"which was made on another kind of machine: {words}"
    return f"though it was made on this kind of machine. That should not be: minigpt verify {ref}"


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


def committed(root: Path, path: str) -> bytes | None:
    """A file as the checked-out commit holds it; None where it does not."""
    done = run_git(root, "show", f"HEAD:./{path}")
    return None if done.returncode else done.stdout
