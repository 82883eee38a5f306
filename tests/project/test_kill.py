"""Killed anywhere, the same command goes on, and the bytes are those of an undisturbed run."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

QUICK = {"MINIGPT_CHECKPOINT_SECONDS": "0.2", "MINIGPT_TRACKER": "none"}
WORDS = {
    "flow": "pipelines.release",
    "lifeline": "lifeline",
    "dvc": "-m dvc",
    "stage": "stages.pretrain",
}


@pytest.fixture(scope="session")
def undisturbed(built, make_copy, tmp_path_factory):
    """sha256 of the base model that seed 7 gives when nobody disturbs it."""
    quiet = make_copy(built, tmp_path_factory.mktemp("undisturbed") / "copy")
    quiet.set_params(lambda p: p.update(seed=7))
    quiet.repro("pretrain", env=QUICK)
    return quiet.sha256("models/base/model.safetensors")


def start(project, *command):
    return subprocess.Popen(
        command,
        cwd=project.root,
        env=project.environment(**QUICK),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def checkpoint(project):
    return sorted((project.root / ".work" / "pretrain").glob("*/*/state.json"))


def begin_training(project, *command):
    project.set_params(lambda p: p.update(seed=7))
    process = start(project, *command)
    wait_for(lambda: checkpoint(project) or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]
    return process


def end(process):
    if process.poll() is None:
        process.kill()
    return process.communicate()[0]


def test_a_killed_training_resumes_to_the_same_bytes(project, undisturbed):
    process = begin_training(project, "dvc", "repro", "pretrain")
    [stage] = project.processes(WORDS["stage"])
    stage.kill()
    process.wait(timeout=30)
    assert not (project.root / "models" / "base").exists(), "no half-written output"
    done = project.repro("pretrain", env=QUICK)
    assert "resumed at step" in done.stdout + done.stderr
    assert project.sha256("models/base/model.safetensors") == undisturbed


def test_a_torn_checkpoint_is_named_and_the_one_before_it_used(project, undisturbed):
    process = begin_training(project, "dvc", "repro", "pretrain")
    wait_for(lambda: len(checkpoint(project)) > 1)
    [stage] = project.processes(WORDS["stage"])
    stage.kill()
    process.wait(timeout=30)
    newest = checkpoint(project)[-1].parent
    weights = max(newest.glob("*.safetensors"), key=lambda p: p.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-100])
    done = project.repro("pretrain", env=QUICK)
    said = done.stdout + done.stderr
    assert newest.name in said
    assert "resumed at step" in said
    assert project.sha256("models/base/model.safetensors") == undisturbed


def test_a_changed_line_of_code_never_resumes_the_old_checkpoint(project, make_copy, tmp_path):
    clean = make_copy(project, tmp_path / "clean")
    process = begin_training(project, "dvc", "repro", "pretrain")
    [stage] = project.processes(WORDS["stage"])
    stage.kill()
    process.wait(timeout=30)
    clean.set_params(lambda p: p.update(seed=7))
    for each in (project, clean):
        code = each.root / "minigpt" / "training" / "optim.py"
        changed = code.read_text().replace("FIRST_MOMENTUM = 0.85", "FIRST_MOMENTUM = 0.8")
        assert changed != code.read_text()
        code.write_text(changed)
        done = each.repro("pretrain", env=QUICK)
        assert "resumed" not in done.stdout + done.stderr
    path = "models/base/model.safetensors"
    assert project.sha256(path) == clean.sha256(path)
    assert not list((project.root / ".work" / "pretrain").glob("*"))


CASES = [("flow", "KILL"), ("lifeline", "KILL"), ("dvc", "TERM")]
MORE = [("flow", "TERM"), ("lifeline", "TERM"), ("dvc", "KILL"), ("stage", "TERM")]


@pytest.mark.parametrize(
    ("victim", "name"),
    [*CASES, *(pytest.param(*case, marks=pytest.mark.prove) for case in MORE)],
)
def test_whoever_dies_no_stage_lives_on_and_the_next_run_goes_through(
    project, undisturbed, victim, name
):
    process = begin_training(project, sys.executable, "-m", "pipelines.release")
    found = project.processes(WORDS[victim])
    assert found, f"no {victim} to kill"
    for target in found:
        target.send_signal(getattr(signal, f"SIG{name}"))
    wait_for(lambda: not project.processes("stages."), seconds=5)
    end(process)
    psutil.wait_procs(found, timeout=5)
    done = project.repro("pretrain", env=QUICK)
    assert "resumed at step" in done.stdout + done.stderr
    assert project.sha256("models/base/model.safetensors") == undisturbed


HOLD = """
import time
from pathlib import Path
from minigpt.process import workspace_lock
with workspace_lock(Path()):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_in_the_same_workspace_is_refused_and_names_the_holder(project):
    holder = start(project, sys.executable, "-c", HOLD)
    try:
        assert holder.stdout.readline() == "held\n"
        second = project.flow(check=False)
        assert second.returncode == 1
        assert str(holder.pid) in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        end(holder)
