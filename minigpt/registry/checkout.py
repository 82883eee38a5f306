"""Which code, params and graph a version comes from: a commit, and what differs from it."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minigpt.dvc_lock import LOCK, read_stages
from minigpt.errors import RegistryError
from minigpt.git import quoted, reason, run_git
from minigpt.graph import read_graph
from minigpt.process import run_dvc

RESULTS = ("dvc.lock", "metrics", "plots", "results")
"""A run changes these; they are not where it comes from."""


@dataclass(frozen=True)
class CheckoutState:
    """The tree that a version was made from."""

    commit: str
    patch: bytes
    """`git apply` on the commit gives the tree; empty: it is the commit."""


def checkout_state(root: Path) -> CheckoutState:
    """The commit of `root`, and the difference of its tracked files and its stages' new inputs.

    Raises:
        RegistryError: `root` is no git checkout, or has no commit.
    """
    commit = _git(root, "rev-parse", "--verify", "HEAD").decode().strip()
    paths = sorted({dep for stage in read_graph(root).values() for dep in stage.deps})
    listed = _git(
        root, "ls-files", "--others", "--exclude-standard", "-z", "--",
        "dvc.yaml", "params.yaml", *paths,
    )  # fmt: skip
    new = [name for name in listed.decode().split("\0") if name]
    objects = root / _git(root, "rev-parse", "--git-path", "objects").decode().strip()
    with tempfile.TemporaryDirectory() as folder:
        # An index and object store of its own: the user's are left as they are.
        aside = {
            "GIT_INDEX_FILE": f"{folder}/index",
            "GIT_OBJECT_DIRECTORY": f"{folder}/objects",
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": quoted(objects.resolve()),
        }
        Path(folder, "objects").mkdir()
        _git(root, "read-tree", "HEAD", env=aside)
        _git(root, "add", "--update", ".", env=aside)
        if new:
            _git(root, "add", "--", *new, env=aside)
        patch = _git(
            root, "diff-index", "--patch", "--binary", "--cached", "--no-ext-diff", "HEAD", "--",
            ".", *(f":(exclude){name}" for name in RESULTS), env=aside,
        )  # fmt: skip
    return CheckoutState(commit, patch)


def refuse_other_inputs(root: Path) -> None:
    """Refuse code, params and local text that are not those which dvc.lock says were built from.

    The version would record them as its own. What one stage writes for the next is left to the
    manifest's digests.

    Raises:
        RegistryError: an input changed since it was built from (names it), or dvc.lock is gone.
        DataError: dvc.lock cannot be read.
    """
    lock = root / LOCK
    if not lock.is_file():
        raise RegistryError(f"{lock} is gone: it tells what was built from. Run: dvc repro")
    if not read_stages(lock.read_bytes()):
        return  # it records no input
    lines: list[str] = []
    code = run_dvc(["status", "--json"], root, lines.append)
    told = next((line for line in lines if line.startswith("{")), None)
    if code or told is None:
        why = lines[-1] if lines else f"exit {code}"
        raise RegistryError(f"DVC cannot tell whether the code is what was built from: {why}")
    made = {out for stage in read_graph(root).values() for out in stage.outs}
    for stage, entries in json.loads(told).items():
        for entry in entries:
            inputs = entry.get("changed deps", {}) if isinstance(entry, dict) else {}
            if changed := sorted(set(inputs) - made):
                raise RegistryError(
                    f"{', '.join(changed)} changed since {stage} was built, so a version would "
                    "name what it was not made from. Run: dvc repro"
                )
            if entry == "changed command":
                raise RegistryError(f"dvc.yaml: {stage} has another command now. Run: dvc repro")


def _git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> bytes:
    done = run_git(root, *arguments, env=env)
    if done.returncode:
        raise RegistryError(f"{root}: a version records its git commit, but: {reason(done)}")
    return done.stdout
