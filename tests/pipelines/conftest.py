"""A little DVC project whose stages are real processes of ours."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

CHECKOUT = Path(__file__).resolve().parents[2]

STEP = """
import os, sys, time
from pathlib import Path
import stages  # dies with its parent, as every stage does
from minigpt.errors import BusyError
from minigpt.process import stage_lock

name, wanted = sys.argv[1], Path("params.yaml").read_text()
fails, waits = (Path(f"{name}.{word}").exists() for word in ("fails", "waits"))
try:
    with stage_lock(name, wait_s=300):
        with open("work.log", "a") as log:
            log.write(f"{name} {os.getpid()} starts\\n")
        sys.stderr.write(f"{name}: step 1/2\\n")
        sys.stderr.flush()
        if waits:
            time.sleep(3600)
        if fails:
            sys.stderr.write(f"{name}: 2 documents fail\\n  a.txt  bad\\n")
            raise SystemExit(1)
        Path(f"{name}.txt").write_text(wanted)
        with open("work.log", "a") as log:
            log.write(f"{name} {os.getpid()} ends\\n")
        sys.stderr.write(f"{name}: wrote {len(wanted)} characters\\n")
except BusyError as error:
    sys.exit(f"{name}: {error}")
"""

GRAPH = """
stages:
  zeta:
    desc: The first, though its name sorts last
    cmd: python step.py zeta
    deps: [step.py]
    params: [seed]
    outs: [zeta.txt]
  beta:
    cmd: python step.py beta
    deps: [step.py, zeta.txt]
    params: [release]
    outs: [beta.txt]
    meta: {retries: 1}
  alpha: {cmd: python step.py alpha, deps: [step.py, beta.txt], params: [gate], outs: [alpha.txt]}
"""

IGNORED = [".work", ".prefect", "work.log", "mlflow.db*", "mlruns", "*.fails", "*.waits", ".cache"]
PARAMS = "seed: 1\nrelease: {name: fake}\ngate: {must_beat: xz}\n"


@pytest.fixture(autouse=True)
def no_server_of_the_users():
    """No server of his profile, and not that of a `make up` in this checkout (prefect.toml)."""
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    (root / "step.py").write_text(STEP)
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "params.yaml").write_text(PARAMS)
    (root / ".gitignore").write_text("\n".join(IGNORED))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q"], cwd=root, check=True)
    subprocess.run([*dvc, "config", "core.analytics", "false"], cwd=root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, "commit", "-qm", "start"], cwd=root, check=True)
    return root


@pytest.fixture
def project(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh copy, with this checkout's library first on its stages' path."""
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.setenv("PYTHONPATH", str(CHECKOUT))
    return root
