"""A throw-away clone of the workspace as it stands, edits included, for experiments."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt.data.copies import LOCAL
from minigpt.data.corpora import DownloadParams
from minigpt.data.links import bring_files, follow
from minigpt.files import write_text
from minigpt.git import git, require_git
from minigpt.machine import Machine
from minigpt.params import PARAMS, load_params
from minigpt.process import WORK, run_dvc
from minigpt.registry.dvc_settings import use_cache
from pipelines.dag import opened

PLACE = WORK / "sweep"


@dataclass
class Clone:
    """A clone, and the workspace that it was made from."""

    root: Path
    workspace: Path
    files: dict[str, bytes] = field(default_factory=dict)
    """params.yaml and dvc.lock as every experiment finds them."""

    def experiment(
        self,
        name: str,
        overrides: Mapping[str, Any],
        until: str,
        environment: Mapping[str, str],
        say: Callable[[str], None],
    ) -> str | None:
        """Run `dvc exp run` with those params, hand it back; return why it failed, or None."""
        for path, content in self.files.items():
            (self.root / path).write_bytes(content)
        pairs = [f"{key}={json.dumps(value)}" for key, value in overrides.items()]
        command = ["exp", "run", "-n", name, *(f"-S={pair}" for pair in pairs), until]
        lines: list[str] = []

        def read(line: str) -> None:
            lines.append(line)
            say(line)

        settings = {
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(self.root), os.environ.get("PYTHONPATH")])
            ),
            "DVC_SITE_CACHE_DIR": str(self.root.parent / "site"),
            "MINIGPT_CACHE": str((self.workspace / Machine.load().cache).resolve()),
            **environment,
        }
        code = run_dvc(command, self.root, read, settings)
        record = self.workspace / WORK / "logs" / f"{name}.log"
        write_text(record, "\n".join(lines) + "\n")
        if code:
            said = [line for line in lines if line.strip()]
            stop = next((i for i, s in enumerate(said) if s.startswith("ERROR: ")), len(said))
            last = (said[:stop] or said or ["it said nothing"])[-1]
            return f"{last.strip()} (all it said: {record.relative_to(self.workspace).as_posix()})"
        self.hand_back()
        return None

    def hand_back(self) -> None:
        """Give the workspace's git the experiments: `dvc exp show` lists them there."""
        listed = git(self.root, "for-each-ref", "--format=%(refname)", "refs/exps").decode()
        refs = [ref for ref in listed.split() if len(ref.split("/")) == 5]  # refs/exps/ab/cd…/name
        if refs:
            git(self.workspace, "fetch", "-q", str(self.root), *(f"+{ref}:{ref}" for ref in refs))


@contextlib.contextmanager
def throwaway(root: Path) -> Iterator[Clone]:
    """The clone for the length of the block; one that a killed run left is removed first."""
    place = root / PLACE
    shutil.rmtree(place, ignore_errors=True)
    try:
        yield make(root, place / "clone")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def make(root: Path, target: Path) -> Clone:
    """Clone the commit, then bring over edits, new files and the user's own text."""
    target.parent.mkdir(parents=True)
    commit = require_git(root)
    git(root, "clone", "-q", "--shared", "--no-checkout", str(root), str(target))
    git(target, "checkout", "-q", "--detach", commit)
    # Not `git diff`: the user's settings may turn it into what `git apply` cannot read.
    edits = git(root, "diff-index", "--patch", "--binary", "--no-ext-diff", "HEAD")
    if edits:
        git(target, "apply", "--whitespace=nowarn", "-", stdin=edits)
    new = git(root, "ls-files", "-z", "--others", "--exclude-standard").split(b"\0")
    for name in map(os.fsdecode, new):
        if not (root / name).is_file():
            continue  # a repository within this one is listed as a folder
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)
    sources = load_params(DownloadParams, root / PARAMS).sources
    follow(root, sources)
    if (root / LOCAL).is_dir():
        shutil.copytree(root / LOCAL, target / LOCAL, dirs_exist_ok=True)
    bring_files(root, target, sources)
    if (own := root / ".dvc" / "config.local").is_file():
        shutil.copy2(own, target / ".dvc" / "config.local")
    with opened(root) as repo:
        cache = repo.cache.local_cache_dir
    use_cache(target, Path(cache))
    paths = {name: (target / name) for name in ("params.yaml", "dvc.lock")}
    return Clone(target, root, {n: p.read_bytes() for n, p in paths.items() if p.is_file()})
