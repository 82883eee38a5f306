import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.tracking import (
    PARENT_ENV,
    MlflowTracker,
    NullTracker,
    close_parent,
    find_run,
    link_run,
    mlflow_tracker,
    open_child,
    open_parent,
)
from minigpt.tracking.tracker import flatten


def test_metrics_are_sent_in_batches_and_all_at_the_end(root, store, monkeypatch):
    monkeypatch.setattr(mlflow_tracker, "FLUSH_POINTS", 10)
    tracker = open_child(root, "pretrain")
    for step in range(25):
        tracker.metrics({"train/loss": 1 / (step + 1)}, step)
    sent = store.client.get_metric_history(tracker.run_id, "train/loss")
    tracker.close()
    history = store.client.get_metric_history(tracker.run_id, "train/loss")
    assert len(sent) == 20
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(25)]


def test_a_result_starts_no_watch_of_the_machine(root, store):
    tracker = open_child(root, "evaluate")
    tracker.metrics({"bits_per_byte": 2.0})
    tracker.metrics({"bits_per_byte": 2.0}, 0)
    assert tracker._monitor is None
    tracker.close()
    run = store.client.get_run(tracker.run_id)
    assert set(run.data.metrics) == {"bits_per_byte"}


def test_training_records_the_load_of_the_machine(root, store, monkeypatch):
    monkeypatch.setattr(mlflow_tracker, "SYSTEM_SECONDS", 0.2)
    tracker = open_child(root, "pretrain")
    tracker.metrics({"train/loss": 1.0}, 1)
    tracker._monitor._shutdown_event.wait(1.5)
    tracker.close()
    metrics = store.client.get_run(tracker.run_id).data.metrics
    assert "system/cpu_utilization_percentage" in metrics


def test_children_lie_under_their_parent(root, store, monkeypatch):
    parent = open_parent(root, "release", {"minigpt.preset": "tiny"})
    named = open_child(root, "tokenize", parent)
    monkeypatch.setenv(PARENT_ENV, parent)
    inherited = open_child(root, "pretrain")
    for child in (named, inherited):
        child.close()
        assert store.client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent
    close_parent(root, parent)
    run = store.client.get_run(parent)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "release")
    assert run.data.tags["minigpt.preset"] == "tiny"


def open_and_die(root, answers):
    parent = open_parent(root, "pipeline")
    answers.put((parent, open_child(root, "pretrain", parent).run_id))
    answers.close()
    answers.join_thread()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process starts from this one's imports")
def test_the_next_flow_ends_the_runs_of_one_that_was_killed_and_no_others(root, store):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    process = context.Process(target=open_and_die, args=(root, answers))
    process.start()
    killed = answers.get(timeout=60)
    process.join()
    living = open_child(root, "evaluate").run_id
    elsewhere = open_child(root, "evaluate").run_id
    store.client.set_tag(elsewhere, f"{mlflow_tracker.OWNER}host", "another")
    store.client.set_tag(elsewhere, f"{mlflow_tracker.OWNER}started", "1.0")

    def status(run_id):
        return store.client.get_run(run_id).info.status

    assert [status(run_id) for run_id in killed] == ["RUNNING"] * 2
    close_parent(root, open_parent(root, "pipeline"))
    assert [status(run_id) for run_id in killed] == ["KILLED"] * 2
    assert [status(living), status(elsewhere)] == ["RUNNING"] * 2


def test_a_restored_stage_is_linked_to_the_run_that_made_it(root, store):
    tracker = open_child(root, "quantize")
    tracker.tag("minigpt.output_digest", "5f1c")
    assert find_run(root, "quantize", "5f1c") is None  # it has not ended
    tracker.close()
    parent = open_parent(root, "release")
    assert link_run(root, parent, "quantize", "5f1c") == tracker.run_id
    assert link_run(root, parent, "export", "5f1c") is None
    assert store.client.get_run(parent).data.tags["minigpt.run.quantize"] == tracker.run_id


def test_long_parameters_are_cut_and_kept_whole_beside(root, store):
    tracker = open_child(root, "validate")
    tracker.params({"validate": {"exclude": ["a" * 64] * 100, "min_chars": 3}})
    tracker.close("FAILED")
    run = store.client.get_run(tracker.run_id)
    whole = Path(store.client.download_artifacts(tracker.run_id, "params.yaml")).read_text()
    assert run.info.status == "FAILED"
    assert run.data.params["validate.min_chars"] == "3"
    assert len(run.data.params["validate.exclude"]) == mlflow_tracker.PARAM_LENGTH
    assert whole.count("a" * 64) == 100


def test_datasets_carry_their_whole_digest(root, store, tmp_path):
    tracker = open_child(root, "pretrain")
    tracker.dataset("shakespeare", tmp_path, "ab" * 32, "train")
    tracker.close()
    [logged] = store.client.mlflow.get_run(tracker.run_id).inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("shakespeare", "ab" * 18)
    assert {t.key: t.value for t in logged.tags} == {
        "mlflow.data.context": "train",
        "minigpt.digest": "ab" * 32,
    }


def test_what_the_store_refuses_is_said_once_and_harms_no_stage(store, capsys):
    tracker = MlflowTracker(store, "0" * 32)  # a run that is not there
    tracker.tag("a", "b")
    tracker.metrics({"x": 1.0})
    tracker.close()
    assert capsys.readouterr().err.count("gap") == 1


def test_making_and_using_a_store_says_nothing_and_mlflow_is_imported_late(tmp_path):
    code = (
        "import sys; from pathlib import Path; from minigpt.tracking import open_child; "
        "assert 'mlflow' not in sys.modules; root = Path(sys.argv[1]); "
        "run = open_child(root, 'pretrain'); run.metrics({'x': 1.0}, 1); "
        "run.artifact(root / 'a'); run.close()"
    )
    (tmp_path / "a").write_text("a")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_nothing_is_kept_where_nothing_is_wanted(status):
    tracker = NullTracker()
    tracker.metrics({"x": 1.0}, 1)
    tracker.close(status)
    assert tracker.run_id is None


def test_a_name_that_mlflow_refuses_spoils_no_batch(root, store):
    tracker = open_child(root, "evaluate")
    tracker.metrics({"plays.Love's Labour's Lost": 2.1, "Été: 1905": 2.0, "plain": 1.0})
    tracker.close()
    metrics = store.client.get_run(tracker.run_id).data.metrics
    assert metrics == {"plays.Love_s Labour_s Lost": 2.1, "Été_ 1905": 2.0, "plain": 1.0}


def test_nested_values_become_dotted_names():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}
