"""One tiny model is built by the flow in a copy of the tree; other tests copy that."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from filelock import FileLock
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from minigpt.process import SHELLS
from minigpt.tracking.relocate import relocate

ROOT = Path(__file__).resolve().parent.parent
# A busy machine is slow, not wrong; and what fails here must fail again.
settings.register_profile("here", deadline=None, derandomize=True)
settings.load_profile("here")
OURS = ("MINIGPT_", "MLFLOW_", "PREFECT_", "DVC_", "PYTHONHASHSEED", "PIP_INDEX_URL")


CHANGES = ("test_kill.py", "test_schedule.py", "test_staleness.py")


class ByBuilds(LoadScopeScheduling):  # type: ignore[misc]
    """Two processes for the tests that start from the session's builds: both are long, and each
    has a share of them. Elsewhere a file stays in one. (xdist has no groups under pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        if not file.startswith("tests/project/"):
            return file
        return "changes" if file.endswith(CHANGES) else "project"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByBuilds:
    """Who runs what, with `-n`."""
    return ByBuilds(config, log)


@dataclass(frozen=True)
class Project:
    """A checkout of its own, whose code is the one that runs in it."""

    root: Path

    def environment(self, **more: str) -> dict[str, str]:
        """The user's environment with this checkout first on PYTHONPATH and no settings of ours."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", "")])
        ours = {"PATH": path, "PYTHONPATH": str(self.root), "MINIGPT_KEY": "none"}
        return inherited | ours | {"DVC_SITE_CACHE_DIR": str(self.root.parent / "site")} | more

    def run(
        self,
        *command: str,
        check: bool = True,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
        prefix: tuple[str, ...] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout; with `check`, a failure shows what it printed."""
        done = subprocess.run(
            [*prefix, *command],
            cwd=cwd or self.root,
            env=self.environment(**(env or {})),
            text=True,
            capture_output=True,
            input=stdin,
            errors="replace",
        )
        if check and done.returncode:
            pytest.fail(
                f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def minigpt(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`minigpt …` of this checkout."""
        return self.run(sys.executable, "-m", "minigpt.cli.main", *arguments, **options)

    def flow(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """What `make run` runs after set-up."""
        return self.run(sys.executable, "-m", "pipelines.run", *arguments, **options)

    def repro(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        tracker: str = "none",
        **options: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Plain `dvc repro`; importing MLflow in every stage is left to tests of tracking."""
        env = {"MINIGPT_TRACKER": tracker, **(env or {})}
        return self.run("dvc", "repro", *arguments, env=env, **options)

    def lock(self) -> dict[str, Any]:
        """The stages of dvc.lock."""
        return yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]

    def params(self) -> dict[str, Any]:
        """params.yaml as plain values."""
        return yaml.safe_load((self.root / "params.yaml").read_text())

    def set_params(self, change: Any) -> None:
        """Apply `change(values)` to params.yaml."""
        values = self.params()
        change(values)
        (self.root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))

    def sha256(self, path: str) -> str:
        """Digest of one file of the project."""
        return hashlib.sha256((self.root / path).read_bytes()).hexdigest()

    def commit(self, message: str) -> None:
        """Commit everything that is not ignored."""
        commit(self, message)

    def processes(self, word: str) -> list[psutil.Process]:
        """Living processes of this checkout whose command line holds `word`; no shell is one."""
        processes = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:  # pid_exists is true for these
                    continue
                if process.name() in SHELLS:  # DVC's, with the stage's command as its argument
                    continue
                if process.cwd() == str(self.root) and word in " ".join(process.cmdline()):
                    processes.append(process)
        return processes

    def results(self, name: str) -> dict[str, Any]:
        """results/NAME.json."""
        return json.loads((self.root / "results" / f"{name}.json").read_text())


def checkout(target: Path) -> Project:
    """The tree as it stands (tracked and new files), committed in a repository of its own."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    project = Project(target)
    project.run("git", "init", "-q", "-b", "main")
    commit(project, "start")
    return project


def commit(project: Project, message: str) -> None:
    """Commit everything that is not ignored."""
    project.run("git", "add", "-A")
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    project.run(
        "git", *author, "-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", message
    )


def tiny_checkout(target: Path) -> Project:
    """A checkout with preset tiny, committed; nothing built."""
    project = checkout(target)
    project.minigpt("preset", "tiny", "--force")
    for name in ("dvc.lock", "metrics", "plots", "results"):
        path = target / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    commit(project, "tiny")
    return project


def copy_of(project: Project, target: Path) -> Project:
    """A copy without the MLflow store, whose paths are the original's.

    Prefect's database goes along: its server needs 8 s of CPU to make one.
    """
    ignored = shutil.ignore_patterns("mlflow.db*", ".work", "__pycache__", ".mypy_cache")
    shutil.copytree(project.root, target, symlinks=True, ignore=ignored)
    for path in (target / "mlruns").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    return Project(target)


@pytest.fixture(scope="session")
def make_copy() -> Callable[[Project, Path], Project]:
    """A function that copies a built project to the folder it is given."""
    return copy_of


def made_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """A folder that `make` fills for all processes of the session; the others wait for it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, complete = base / name, base / f"{name}.complete"
    with FileLock(base / f"{name}.lock"):
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny preset, built, registered and promoted by the flow. Read only: copy it."""

    def build(folder: Path) -> None:
        project = tiny_checkout(folder / "minigpt")
        done = project.flow()
        (folder / "flow.log").write_text(done.stdout + done.stderr)
        commit(project, "built")

    return Project(made_once(tmp_path_factory, "built", build) / "minigpt")


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project, without its MLflow store (whose paths are the original's)."""
    copy = copy_of(built, tmp_path / "copy")
    where = copy.run(sys.executable, "-c", "import minigpt; print(minigpt.__file__)").stdout
    assert Path(where.strip()).is_relative_to(copy.root), where
    return copy


@pytest.fixture(scope="session")
def registered_once(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy whose own new store holds the version, as champion. Read only: copy it."""

    def register(folder: Path) -> None:
        project = copy_of(built, folder / "copy")
        project.minigpt("registry", "sync")
        project.minigpt("registry", "promote", "challenger")

    return Project(made_once(tmp_path_factory, "registered", register) / "copy")


@pytest.fixture
def registered(
    registered_once: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A copy with its store, as a person moves a checkout."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copytree(registered_once.root, tmp_path / "copy", symlinks=True)
    relocate(tmp_path / "copy")
    return Project(tmp_path / "copy")


@pytest.fixture(scope="session")
def make_checkout() -> Callable[[Path], Project]:
    """A function that makes a checkout of the tree as it stands in the folder it is given."""
    return checkout


@pytest.fixture(scope="session")
def make_tiny() -> Callable[[Path], Project]:
    """A function that makes a tiny checkout, nothing built, in the folder it is given."""
    return tiny_checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A tiny checkout in which nothing was built."""
    return tiny_checkout(tmp_path / "fresh")
