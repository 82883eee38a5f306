"""No stage outlives who started it, and the next run is not blocked (real signals)."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from minigpt.process import is_alive, run_dvc, workspace_lock
from tests.patience import until

FLOW = """
import sys
from pathlib import Path
from minigpt.process import run_dvc, workspace_lock
with workspace_lock(Path.cwd()):
    sys.exit(run_dvc(["repro", "--single-item", "zeta"], Path.cwd(), print))
"""


@pytest.fixture(params=["/bin/sh", "/bin/bash"])
def shell(request, monkeypatch):
    """DVC starts a stage through this: bash becomes the stage, dash stays as its parent."""
    if not Path(request.param).exists():
        pytest.skip(f"there is no {request.param}")
    monkeypatch.setenv("SHELL", request.param)


def start_flow(project: Path) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """A flow whose stage is at work; the pids of flow, lifeline, dvc and stage."""
    (project / "zeta.waits").touch()
    log = project / "work.log"
    flow = subprocess.Popen([sys.executable, "-c", FLOW], cwd=project, stdout=subprocess.DEVNULL)
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    stage = int(log.read_text().split()[1])
    (lifeline,) = psutil.Process(flow.pid).children()
    (dvc,) = lifeline.children()
    return flow, {"flow": flow.pid, "lifeline": lifeline.pid, "dvc": dvc.pid, "stage": stage}


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("flow", signal.SIGKILL),
        ("lifeline", signal.SIGKILL),
        ("dvc", signal.SIGKILL),
        pytest.param("flow", signal.SIGTERM, marks=pytest.mark.prove),
        pytest.param("lifeline", signal.SIGTERM, marks=pytest.mark.prove),
        pytest.param("dvc", signal.SIGTERM, marks=pytest.mark.prove),
    ],
)
def test_whoever_is_killed_no_stage_is_left_and_the_next_run_works(project, target, number):
    flow, pids = start_flow(project)
    os.kill(pids[target], number)
    until(lambda: not is_alive(pids["stage"]))
    flow.wait()
    until(lambda: not is_alive(pids["dvc"]) and not is_alive(pids["lifeline"]))

    (project / "zeta.waits").unlink()
    with workspace_lock(project):
        assert run_dvc(["repro", "--single-item", "zeta"], project, print) == 0
    assert (project / "zeta.txt").exists()


def test_a_run_right_after_a_kill_waits_for_the_old_stage(project):
    flow, pids = start_flow(project)
    (project / "zeta.waits").unlink()
    os.kill(flow.pid, signal.SIGKILL)
    flow.wait()
    with workspace_lock(project):  # the lifeline still holds it while it ends the stage
        assert not is_alive(pids["stage"])
        assert run_dvc(["repro", "--single-item", "zeta"], project, print) == 0
    words = [line.split() for line in (project / "work.log").read_text().splitlines()]
    assert [event for _, _, event in words] == ["starts", "starts", "ends"]


@pytest.mark.usefixtures("shell")
def test_dvc_without_a_flow_takes_its_stage_along(project):
    (project / "zeta.waits").touch()
    log = project / "work.log"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    dvc = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", "zeta"],
        cwd=project,
        env={**os.environ, "PATH": path},
    )
    until(lambda: log.exists() and log.read_text().endswith("\n"))
    dvc.kill()
    until(lambda: not is_alive(int(log.read_text().split()[1])))
    dvc.wait()
