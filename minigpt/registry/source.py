"""Which code, params and graph a version comes from: a commit, and what differs from it."""

import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minigpt.errors import RegistryError
from minigpt.graph import read_graph

RESULTS = ("dvc.lock", "metrics", "plots")  # a run changes these; they are not where it comes from


@dataclass(frozen=True)
class SourceState:
    """The tree that a version was made from."""

    commit: str
    patch: bytes
    """`git apply` on the commit gives the tree; empty: it is the commit."""


def source_state(root: Path) -> SourceState:
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
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects.resolve()),
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
    return SourceState(commit, patch)


def _git(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> bytes:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, env={**os.environ, **(env or {})}
        )
    except FileNotFoundError as error:
        raise RegistryError("git is not installed; a version records its commit") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise RegistryError(
            f"{root}: a version records its git commit, but: {reason[0]}. "
            'In a folder without git: git init && git add -A && git commit -m "start"'
        )
    return done.stdout
