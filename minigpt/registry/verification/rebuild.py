"""A version built once more from its sources, in a folder of its own that is gone afterwards.

The commit is checked out into a repository that only borrows the objects of the user's: nothing is
written to that one, so there is nothing to tidy up in it after a kill, and no hook of it runs.
"""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from minigpt import log
from minigpt.dvc_lock import LOCK
from minigpt.errors import BusyError, RegistryError
from minigpt.git import git, quoted, run_git
from minigpt.graph import read_graph
from minigpt.machine import PREFIX
from minigpt.process import WORK, holder_of, named, run_dvc, take_lock
from minigpt.registry.artifacts import PATCH
from minigpt.registry.dvc_settings import own_settings
from minigpt.registry.verification.trust import Code
from minigpt.registry.versions import Version

FOLDER = WORK / "verify"
SETTINGS = ("threads", "micro_batch", "compile")
STRICT = ("-c", "core.protectHFS=true", "-c", "core.protectNTFS=true")
"""Names that another system would take for .git are refused on this one too."""
SETTINGS_FILES = (".dvc/*", ".gitattributes", ".gitmodules", ".lfsconfig")
"""No part of a build; they could have git start a filter, or DVC write elsewhere."""
REMOVE_SECONDS = 10.0  # a killed verification's stage may still be ending
STARTED = re.compile(r"^Running stage '(.+)':")
WHERE = """
import importlib.util, sys
sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
for name in sys.argv[1:]:
    print(next(iter(importlib.util.find_spec(name).submodule_search_locations)))
"""


@contextlib.contextmanager
def clean_folder(root: Path) -> Iterator[Path]:
    """An empty folder, gone at the end of the block; what a killed process left is removed first.

    Raises:
        RegistryError: `root` cannot be written to.
    """
    base = root.resolve() / FOLDER
    lock: int | None = None
    try:
        base.mkdir(parents=True, exist_ok=True)
        remove_abandoned(base)
        path = base / f"{os.getpid()}.lock"
        lock = take_lock(path)
        folder = base / str(os.getpid())
        if lock is None:
            raise BusyError(f"{folder} is in use by {named(holder_of(path))}")
        remove(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise RegistryError(
            f"{base}: a rebuild needs a folder there, but: {error.strerror}. Make room or mend the "
            "permissions. Without a rebuild: minigpt verify --from-cache"
        ) from error
    try:
        yield folder
    finally:
        remove(folder)
        path.unlink(missing_ok=True)
        os.close(lock)
        tidy(base)


def remove_abandoned(base: Path) -> None:
    """Remove the folders of verifications that are no longer at work."""
    for folder in sorted(base.glob("*")) if base.is_dir() else []:
        if folder.suffix == ".lock":
            continue
        path = folder.with_name(f"{folder.name}.lock")
        lock = take_lock(path)
        if lock is not None:
            remove(folder)
            path.unlink(missing_ok=True)
            os.close(lock)
    for path in base.glob("*.lock"):  # killed before it made its folder
        if not path.with_suffix("").exists() and (lock := take_lock(path)) is not None:
            path.unlink(missing_ok=True)
            os.close(lock)


def remove(folder: Path) -> None:
    """Remove a folder, also while what was started in it is still ending."""
    deadline = time.monotonic() + REMOVE_SECONDS
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline:
            log.say(f"{folder} cannot be removed; the next verification tries again")
            return
        if folder.exists():
            time.sleep(0.2)


def tidy(base: Path) -> None:
    """Remove the folders above that nobody needs."""
    with contextlib.suppress(OSError):
        base.rmdir()
        base.parent.rmdir()


def refuse_lost_commit(root: Path, version: Version, commit: str) -> None:
    """Refuse a version whose commit git no longer has.

    Raises:
        RegistryError: so it is.
    """
    if run_git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise RegistryError(
            f"{version.name} {version.version} was made from commit {commit[:12]}, which git no "
            f"longer has in {root} (was history rewritten, or is the clone shallow?). Fetch a "
            "branch or tag that holds it; its files alone: minigpt verify "
            f"{version.version} --from-cache"
        )


def check_out(root: Path, code: Code, folder: Path) -> Path:
    """The tree that a version was made from, without results; the project's root in it.

    Whoever wrote the patch, it changes nothing outside of the tree, and neither git's nor DVC's
    settings in it.

    Raises:
        RegistryError: the patch does not apply, or makes a link.
    """
    objects = (root / git_line(root, "rev-parse", "--git-path", "objects")).resolve()
    kind = git_line(root, "rev-parse", "--show-object-format")
    top = folder / "tree"
    git(folder, "init", "-q", "--template=", f"--object-format={kind}", str(top))
    info = top / ".git" / "objects" / "info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "alternates").write_bytes(os.fsencode(f"{quoted(objects)}\n"))
    git(top, "update-ref", "--no-deref", "HEAD", code.commit)
    git(top, *STRICT, "read-tree", "HEAD")
    if code.patch:  # into the index: what it does is looked at before a file is written
        left_out = [f"--exclude={place}{name}" for name in SETTINGS_FILES for place in ("", "*/")]
        # A user's apply.whitespace=fix would change what was edited.
        command = ["apply", "--cached", "--whitespace=nowarn", *left_out, "-"]
        git(top, *STRICT, *command, stdin=code.patch)
        refuse_links(top)
    git(top, *STRICT, "checkout-index", "-q", "--all")
    tree = top / git_line(root, "rev-parse", "--show-prefix", allow_empty=True)
    if not (tree / "dvc.yaml").is_file():
        raise RegistryError(f"commit {code.commit[:12]} has no dvc.yaml; nothing can be rebuilt")
    own_settings(tree)
    remove_results(tree)
    return tree


def refuse_links(top: Path) -> None:
    """Refuse a patch in the index that makes a symbolic link or a submodule: they lead elsewhere.

    Raises:
        RegistryError: it does.
    """
    entries = git(top, "diff-index", "--cached", "--raw", "-z", "HEAD").split(b"\0")
    for about, name in zip(entries[::2], entries[1::2], strict=False):
        if about.split(b" ")[1] in (b"120000", b"160000"):
            raise RegistryError(
                f"{PATCH} makes {os.fsdecode(name)} a link or a submodule, which may lead out of "
                "the clean folder. Commit it, then build and register that"
            )


def remove_results(tree: Path) -> None:
    """Remove dvc.lock and every output that git holds: the rebuild starts from sources alone.

    Raises:
        RegistryError: dvc.yaml names an output outside of the project.
    """
    outs = [out for stage in read_graph(tree).values() for out in stage.outs]
    for out in outs:
        place = Path(os.path.normpath(tree / out))
        if place == tree or not place.parent.resolve().is_relative_to(tree.resolve()):
            raise RegistryError(f"dvc.yaml: the output {out} is outside of the project")
    for name in (LOCK, *outs):
        path = tree / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def git_line(folder: Path, *arguments: str, allow_empty: bool = False) -> str:
    """As `git`, one line of text."""
    line = git(folder, *arguments).decode().strip()
    if not (line or allow_empty):
        raise RegistryError(f"git {' '.join(arguments)} in {folder} says nothing")
    return line


@contextlib.contextmanager
def own_environment(
    root: Path, folder: Path, tree: Path, made_on: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    """For the length of the block: nothing that leads back to the user's checkout.

    The settings that the version was made with are taken over where the user has no wish of his
    own. Yields the part that is to be given to dvc.
    """
    dropped = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if name.startswith(("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "DVC_"))
        or name == "MINIGPT_PARENT_RUN"
    }
    numbers = {name: value for name, value in made_on.items() if isinstance(value, int)}
    recorded: dict[str, Any] = {PREFIX + name.upper(): numbers.get(name) for name in SETTINGS}
    recorded[PREFIX + "DEVICE"] = made_on.get("device") if made_on.get("device") == "cpu" else None
    taken = {k: str(v) for k, v in recorded.items() if v is not None and not os.environ.get(k)}
    path = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    others = [p for p in path if Path(p).resolve() != root.resolve()]
    os.environ |= taken
    try:
        yield {
            "PYTHONPATH": os.pathsep.join([str(tree), *others]),
            "DVC_SITE_CACHE_DIR": str(folder / "site"),
            "DVC_NO_ANALYTICS": "true",
            f"{PREFIX}TRACKER": "none",
            f"{PREFIX}CACHE": str(folder / "downloads"),
        }
    finally:
        for name in taken:
            del os.environ[name]
        os.environ |= dropped


def refuse_other_code(tree: Path, env: Mapping[str, str]) -> None:
    """Refuse to go on where the stages would run other code than the commit's.

    Raises:
        RegistryError: an installed package would win over the one in the tree.
    """
    names = [name for name in ("minigpt", "stages") if (tree / name).is_dir()]
    done = subprocess.run(
        [sys.executable, "-c", WHERE, *names],
        cwd=tree, env={**os.environ, **env}, capture_output=True, check=False,
        encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip
    places = done.stdout.splitlines()
    inside = [Path(place).resolve().is_relative_to(tree.resolve()) for place in places]
    if done.returncode or len(places) != len(names) or not all(inside):
        raise RegistryError(
            f"the rebuild would run the code in {', '.join(places) or 'nowhere'}, not the commit's "
            "in its own folder. Is PYTHONPATH or a sitecustomize in the way?"
        )


class Progress:
    """Reads what `dvc repro` prints and tells it on, a line a stage."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell, self.sometimes = tell, log.every(5.0, tell)
        self.stage, self.said, self.started = "", "", time.monotonic()
        self.lines: list[str] = []

    def read(self, line: str) -> None:
        """Take one line."""
        if match := STARTED.match(line):
            self.end()
            self.stage, self.said, self.started = match[1], "", time.monotonic()
            self.lines = []
        elif line.startswith(prefix := f"{self.stage}: "):
            self.said = line.removeprefix(prefix)
            self.sometimes(f"  {self.stage:<16} running {self.clock()}  {self.said}")
        self.lines.append(line)

    def end(self) -> None:
        """The stage has ended well."""
        if self.stage:
            self.tell(f"  {self.stage:<16} ran     {self.clock()}  {self.said}")

    def clock(self) -> str:
        """How long the stage has been at work."""
        return f"{log.minutes(time.monotonic() - self.started):>5}"

    def failure(self) -> str:
        """What the stage said last; all of its traceback where it crashed."""
        ours = [line for line in self.lines if not line.startswith("ERROR: ")]
        if any(line.startswith("Traceback") for line in ours):
            return "crashed\n" + "\n".join(f"    {line}" for line in ours[-30:])
        theirs = [line.removeprefix("ERROR: ") for line in self.lines if line not in ours]
        return self.said or next(iter(theirs), "dvc said nothing")


def rebuild(tree: Path, env: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Run every stage, restoring nothing.

    `-f` alone keeps DVC from taking outputs out of a cache, `--no-run-cache` from keeping them.

    Raises:
        RegistryError: a stage failed.
    """
    progress = Progress(tell)
    code = run_dvc(["repro", "-f", "--no-run-cache"], tree, progress.read, env)
    if code:
        where = f"{progress.stage}: " if progress.stage else ""
        raise RegistryError(f"the rebuild failed at {where}{progress.failure()}")
    progress.end()
