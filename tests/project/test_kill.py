"""Killed anywhere, the same command goes on, and the bytes are those of an undisturbed run."""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from tests.patience import until

QUICK = {"MINIGPT_CHECKPOINT_SECONDS": "0.2", "MINIGPT_TRACKER": "none"}
RAN = re.compile(r"^(\w+) +ran +(\d+):(\d\d) ", re.MULTILINE)
"""The stage's row in what the flow prints."""
WAYS = [
    ("flow", "KILL"),
    ("lifeline", "KILL"),
    ("dvc", "TERM"),
    ("stage", "INT"),
    ("flow", "TERM"),
    ("flow", "INT"),
    ("flow", "INT INT"),
    ("lifeline", "TERM"),
    ("dvc", "KILL"),
    ("stage", "KILL"),
    ("stage", "TERM"),
]
"""Whom to hit, and with which signals."""


@pytest.fixture(scope="session")
def undisturbed(built, make_copy, tmp_path_factory):
    """The lock and the digest of the base model that seed 7 gives when nobody disturbs it."""
    quiet = make_copy(built, tmp_path_factory.mktemp("undisturbed") / "copy")
    quiet.set_params(lambda p: p.update(seed=7))
    quiet.repro("evaluate", env=QUICK)
    return quiet.lock(), quiet.sha256("models/base/model.safetensors")


@pytest.fixture(scope="session")
def lengths(built):
    """Seconds that each stage took when the flow built it, in the graph's order."""
    log = (built.root.parent / "flow.log").read_text()
    return {stage: 60 * int(m) + int(s) for stage, m, s in RAN.findall(log)}


def start(project, *command):
    return subprocess.Popen(
        command,
        cwd=project.root,
        env=project.environment(**QUICK),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=hear_ctrl_c,
    )


def hear_ctrl_c():
    """A job in the background of a script ignores SIGINT, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def say(line):
    """What a person needs to repeat a run; pytest shows it when a test fails."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def is_living(process):
    """Whether a process still does something."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@dataclass
class Killer:
    """Kills flows of a project at moments drawn by chance, and sees that nothing is left."""

    project: Any
    lengths: dict[str, int]
    chance: random.Random
    log: list[str] = field(default_factory=list)
    hit: list[str] = field(default_factory=list)
    """The stages that were at work when the signal came."""

    def at_work(self):
        """The stage whose process lives, by its place in the graph; None between two."""
        for process in self.project.processes("-m stages."):
            with contextlib.suppress(psutil.Error):
                return re.search(r"stages\.(\w+)", " ".join(process.cmdline()))[1]
        return None

    def victims(self, whom, flow):
        """The processes that bear this name in a flow at work."""
        if whom == "flow":
            return [psutil.Process(flow.pid)]
        if whom == "stage":
            return self.project.processes("-m stages.")
        lifelines = self.project.processes("lifeline.py")
        candidates = lifelines if whom == "lifeline" else self.project.processes("-m dvc")
        serving = [p for p in lifelines if "uvicorn" in " ".join(p.cmdline())]
        return [
            p for p in candidates if p not in serving and (whom == "lifeline") == (p in lifelines)
        ]

    def strike(self, stage, whom, signals):
        """Start the flow, wait for `stage` (or one behind it), and kill at some moment of it."""
        flow = start(self.project, sys.executable, "-m", "pipelines.run")
        order = list(self.lengths)
        try:

            def there():
                running = self.at_work()
                reached = running is not None and order.index(running) >= order.index(stage)
                return running if reached else flow.poll() is not None

            running = until(there)
            assert isinstance(running, str), f"{stage} was not reached:\n{flow.communicate()[0]}"
            # Early the first time, so that no stage is over before it was hit once, on a machine
            # that has become some times as fast since `lengths` was measured too.
            share = 0.7 if running in self.hit else 0.1
            after = self.chance.uniform(0, share * max(1, self.lengths[running]))
            time.sleep(after)
            hit, alive = self.at_work(), self.project.processes("-m stages.")
            victims = self.victims(whom, flow) or self.victims("flow", flow)
            for name in signals.split():
                for victim in victims:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.send_signal(getattr(signal, f"SIG{name}"))
                time.sleep(0.1)
            until(lambda: not any(map(is_living, alive)), seconds=60)
            # It may try a stage again; let it go no further than that.
            until(lambda: flow.poll() is not None or self.at_work(), seconds=60)
            code = flow.poll()
        finally:
            end(flow)
        self.hit += [hit] if hit else []
        self.log.append(
            f"{len(self.log) + 1:>2}: {hit or 'between stages'}, {after:.2f} s behind the start of "
            f"{running}: SIG{signals} to {whom}; the flow's exit code: {code}"
        )
        say(self.log[-1])
        until(lambda: not self.project.processes(""), seconds=60)

    def strikes(self, stages):
        """A strike in each of `stages` (in the graph's order), in every way before any again."""
        ways = WAYS * (len(stages) // len(WAYS) + 1)
        ways = ways[: len(stages)]
        self.chance.shuffle(ways)
        for stage, way in zip(stages, ways, strict=True):
            self.strike(stage, *way)


def killer(project, lengths, default):
    """A killer whose seed is printed; MINIGPT_KILL_SEED gives that of a run to repeat."""
    seed = int(os.environ.get("MINIGPT_KILL_SEED", default))
    say(f"MINIGPT_KILL_SEED={seed}")
    return Killer(project, lengths, random.Random(seed))


def test_a_flow_killed_three_times_ends_in_the_bytes_of_an_undisturbed_one(
    project, undisturbed, lengths
):
    project.set_params(lambda p: p.update(seed=7))
    stages = ["pretrain", "finetune", "evaluate"]
    killer(project, lengths, 11).strikes(stages)
    project.repro("evaluate", env=QUICK)
    lock, whole = project.lock(), undisturbed[0]
    assert {s: lock[s] for s in stages} == {s: whole[s] for s in stages}


@pytest.mark.prove
def test_a_pipeline_killed_twenty_times_ends_in_the_bytes_of_an_undisturbed_one(
    fresh, built, lengths
):
    every = list(lengths)
    assert len(every) == 10
    by_chance = killer(fresh, lengths, random.SystemRandom().randrange(10**6))
    by_chance.strikes([stage for stage in every for _ in range(2)])
    assert len(by_chance.log) == 20
    assert set(by_chance.hit) == set(every)
    done = fresh.flow()
    assert "champion" in done.stdout
    assert fresh.lock() == built.lock()
    for path in ("release/manifest.json", "release/files.json"):
        assert fresh.sha256(path) == built.sha256(path)
    assert not list(fresh.root.rglob(".*.part"))
    assert not [p for p in (fresh.root / ".work").iterdir() if p.is_dir() and p.name in every]


def checkpoint(project):
    return sorted((project.root / ".work" / "pretrain").glob("*/*/state.json"))


def begin_training(project, *command):
    project.set_params(lambda p: p.update(seed=7))
    process = start(project, *command)
    until(lambda: checkpoint(project) or process.poll() is not None)
    assert process.poll() is None, process.communicate()[0]
    return process


def end(process):
    if process.poll() is None:
        process.kill()
    return process.communicate()[0]


def test_a_torn_checkpoint_is_named_and_the_one_before_it_used(project, undisturbed):
    process = begin_training(project, "dvc", "repro", "pretrain")
    until(lambda: len(checkpoint(project)) > 1)
    [stage] = project.processes("-m stages.pretrain")
    stage.kill()
    process.wait()
    newest = checkpoint(project)[-1].parent
    weights = max(newest.glob("*.safetensors"), key=lambda p: p.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:-100])
    done = project.repro("pretrain", env=QUICK)
    said = done.stdout + done.stderr
    assert newest.name in said
    assert "resumed at step" in said
    assert project.sha256("models/base/model.safetensors") == undisturbed[1]


def test_a_changed_line_of_code_never_resumes_the_old_checkpoint(project, make_copy, tmp_path):
    clean = make_copy(project, tmp_path / "clean")
    process = begin_training(project, "dvc", "repro", "pretrain")
    [stage] = project.processes("-m stages.pretrain")
    stage.kill()
    process.wait()
    clean.set_params(lambda p: p.update(seed=7))
    for checkout in (project, clean):
        code = checkout.root / "minigpt" / "training" / "optim.py"
        changed = code.read_text().replace("FIRST_MOMENTUM = 0.85", "FIRST_MOMENTUM = 0.8")
        assert changed != code.read_text()
        code.write_text(changed)
        done = checkout.repro("pretrain", env=QUICK)
        assert "resumed" not in done.stdout + done.stderr
    path = "models/base/model.safetensors"
    assert project.sha256(path) == clean.sha256(path)
    assert not list((project.root / ".work" / "pretrain").glob("*"))


HOLD = """
import time
from pathlib import Path
from minigpt.process import workspace_lock
with workspace_lock(Path()):
    print("held", flush=True)
    time.sleep(3600)
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
