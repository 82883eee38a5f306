"""A stage's run: resumable state by key, tidied at the end; signals; our errors as one line."""

import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from minigpt.config import Config
from minigpt.run import open_run, select


class Settings(Config):
    steps: int = 3


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """A project of one stage, `work`, with a dep and an out; no tracker."""
    (tmp_path / "dep.txt").write_text("dep")
    (tmp_path / "out.txt").write_text("out")
    graph = {"stages": {"work": {"cmd": "true", "deps": ["dep.txt"], "outs": ["out.txt"]}}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(graph))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGPT_TRACKER", "none")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def workdir(params=None):
    with pytest.raises(KeyError), open_run("work", params or Settings()) as run:
        raise KeyError(run.workdir)
    return run.workdir


def test_state_outlives_a_failure_and_goes_when_the_stage_ends_well(stage):
    (workdir() / "state").write_text("half")
    with open_run("work", Settings()) as run:
        assert (run.workdir / "state").read_text() == "half"
    assert not (stage / ".work" / "work").exists()


def test_another_dep_param_or_thread_count_has_another_state(stage, monkeypatch):
    first = workdir()
    assert workdir(Settings(steps=4)) != first
    monkeypatch.setenv("MINIGPT_THREADS", "7")
    assert workdir() != first
    monkeypatch.delenv("MINIGPT_THREADS")
    assert workdir() == first
    (stage / "dep.txt").write_text("other")
    assert workdir() != first


def test_a_loop_that_asks_is_left_to_stop_by_itself_and_the_second_signal_ends_it(stage):
    def ask_and_be_told_twice():
        with open_run("work", Settings()) as run, run.stopping_by_itself():
            assert not run.stop_requested
            os.kill(os.getpid(), signal.SIGTERM)
            assert run.stop_requested
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(SystemExit) as end:
        ask_and_be_told_twice()
    assert end.value.code == 130


def test_a_signal_that_comes_too_late_for_the_loop_ends_the_stage_behind_it(stage):
    reached = []

    def be_told_in_the_last_step():
        with open_run("work", Settings()) as run:
            with run.stopping_by_itself():
                os.kill(os.getpid(), signal.SIGTERM)
                reached.append("the end of the loop")
            reached.append("what comes behind it")

    with pytest.raises(SystemExit) as end:
        be_told_in_the_last_step()
    assert end.value.code == 143
    assert reached == ["the end of the loop"]


def test_a_stage_that_never_asks_ends_at_the_first_signal(stage):
    with pytest.raises(SystemExit) as end, open_run("work", Settings()):
        os.kill(os.getpid(), signal.SIGTERM)
    assert end.value.code == 143


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stage_that_still_imports_ends_with_the_same_code_and_says_nothing(number, code):
    program = "import stages, time; print('imported', flush=True); time.sleep(3600)"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "imported\n"
    process.send_signal(number)
    assert process.communicate() == ("", "")
    assert process.returncode == code


def test_a_wrong_number_of_paths_is_refused_with_their_names(stage):
    code = "from minigpt.run import stage_main\nstage_main(lambda tokens, out: None)"
    done = subprocess.run(
        [sys.executable, "-c", code, "one"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "expected 2 paths (tokens out), got 1" in done.stderr


MEASURED = {
    "base": {"plays": {"bits_per_byte": 2.01234567, "works": {"macbeth": 2.0}}},
    "machine": {"threads": 2},
    "steps": 30,
}


def test_the_metrics_are_the_headlines_of_the_results(stage):
    with open_run("work", Settings()) as run:
        run.summary(stage / "all.json", stage / "some.json", MEASURED, ("base.*.bits_per_byte",))
    rounded = json.loads((stage / "all.json").read_text())
    assert rounded == MEASURED | {
        "base": {"plays": {"bits_per_byte": 2.01235, "works": {"macbeth": 2.0}}}
    }
    assert json.loads((stage / "some.json").read_text()) == {
        "base": {"plays": {"bits_per_byte": 2.01235}}
    }


def test_a_pattern_names_keys_to_the_end_and_what_is_not_there_is_left_out():
    assert select(MEASURED, ("steps", "base.plays.works", "base.*.loss", "machine.threads.x")) == {
        "steps": 30,
        "base": {"plays": {"works": {"macbeth": 2.0}}},
    }
    assert select(MEASURED, ()) == {}
    assert select(MEASURED, ("*",)) == MEASURED
