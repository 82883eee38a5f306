"""What MLflow holds of a run whose journal was delivered."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.errors import RegistryError
from minigpt.tracking import PARENT_ENV, open_journal, system_metrics
from minigpt.tracking.delivery import deliver_all
from minigpt.tracking.journal import RUNS, journals
from minigpt.tracking.mlflow_events import PARAM_LENGTH
from minigpt.tracking.mlflow_tracker import MlflowTracker, create_run, end_abandoned, newest_run
from minigpt.tracking.store import open_store


def test_every_metric_arrives_with_its_step_and_the_numbers_that_json_lacks(root, store, run_of):
    journal = open_journal(root, "pretrain", "pretrain")
    for step in range(25):
        journal.metrics({"train/loss": 1 / (step + 1)}, step)
    journal.metrics({"train/grad_norm": math.nan}, 3)
    journal.close()
    deliver_all(root)
    run = run_of(journal)
    history = store.client.get_metric_history(run.info.run_id, "train/loss")
    assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(25)]
    assert math.isnan(run.data.metrics["train/grad_norm"])
    assert journals(root / RUNS) == []


def test_a_result_starts_no_watch_of_the_machine(root, run_of):
    journal = open_journal(root, "evaluate", "evaluate")
    journal.metrics({"bits_per_byte": 2.0})
    journal.metrics({"bits_per_byte": 2.0}, 0)
    assert journal._monitor is None
    journal.close()
    deliver_all(root)
    assert set(run_of(journal).data.metrics) == {"bits_per_byte"}


def test_training_records_the_load_of_the_machine(root, monkeypatch, run_of):
    monkeypatch.setattr(system_metrics, "INTERVAL_SECONDS", 0.01)
    journal = open_journal(root, "pretrain", "pretrain")
    journal.metrics({"train/loss": 1.0}, 1)
    while "system/" not in journal.path.read_text():
        journal._monitor._over.wait(0.01)
    journal.close()
    deliver_all(root)
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/disk_usage_percentage",
        "system/network_receive_megabytes",
    } <= set(run_of(journal).data.metrics)


def test_a_run_lies_under_the_one_that_the_environment_names(root, run_of, monkeypatch):
    parent = open_journal(root, "pipeline", tags={"minigpt.commit": "c0ffee"})
    monkeypatch.setenv(PARENT_ENV, str(parent.path))
    monkeypatch.chdir(root.parent)  # a stage of an experiment works in another folder
    child = open_journal(root.parent, "pretrain", "pretrain")
    child.close()
    deliver_all(root)
    pipeline = run_of(parent)
    assert (pipeline.info.status, pipeline.data.tags["minigpt.commit"]) == ("RUNNING", "c0ffee")
    assert run_of(child).data.tags["mlflow.parentRunId"] == pipeline.info.run_id
    parent.close()
    deliver_all(root)
    pipeline = run_of(parent)
    assert (pipeline.info.status, pipeline.info.run_name) == ("FINISHED", "pipeline")


def test_a_restored_stage_is_linked_to_the_run_that_made_it(root, store, run_of):
    journal = open_journal(root, "quantize", "quantize")
    journal.tag("minigpt.output_digest", "5f1c")
    deliver_all(root)
    assert newest_run(store, "quantize", "5f1c") is None  # it has not ended
    journal.close()
    flow = open_journal(root, "pipeline")
    flow.link("quantize", "5f1c")
    flow.link("export", "5f1c")
    flow.close()
    deliver_all(root)
    assert newest_run(store, "quantize", "5f1c").info.run_id == run_of(journal).info.run_id
    tags = run_of(flow).data.tags
    assert tags["minigpt.run.quantize"] == run_of(journal).info.run_id
    assert "minigpt.run.export" not in tags


def test_long_parameters_are_cut_and_kept_whole_beside(root, store, run_of):
    journal = open_journal(root, "validate", "validate")
    journal.params({"validate": {"exclude": ["a" * 64] * 100, "min_chars": 3}})
    journal.close("FAILED")
    deliver_all(root)
    run = run_of(journal)
    whole = Path(store.client.download_artifacts(run.info.run_id, "params.yaml")).read_text()
    assert run.info.status == "FAILED"
    assert run.data.params["validate.min_chars"] == "3"
    assert len(run.data.params["validate.exclude"]) == PARAM_LENGTH
    assert whole.count("a" * 64) == 100


def test_datasets_carry_their_whole_digest(root, store, tmp_path, run_of):
    journal = open_journal(root, "pretrain", "pretrain")
    journal.dataset("shakespeare", tmp_path, "ab" * 32, "train")
    journal.close()
    deliver_all(root)
    run = store.client.mlflow.get_run(run_of(journal).info.run_id)
    [logged] = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("shakespeare", "ab" * 18)
    assert {t.key: t.value for t in logged.tags} == {
        "mlflow.data.context": "train",
        "minigpt.digest": "ab" * 32,
    }


def test_an_artifact_arrives_though_the_original_is_gone(root, store, run_of, tmp_path):
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "a.txt", tmp_path / "folder" / "b.txt"):
        path.write_text(path.stem)
    journal = open_journal(root, "export", "export")
    journal.artifact(tmp_path / "a.txt", "notes")
    journal.artifact(tmp_path / "folder", "more")
    journal.close()
    (tmp_path / "a.txt").unlink()
    deliver_all(root)
    run = run_of(journal).info.run_id
    for path, text in (("notes/a.txt", "a"), ("more/b.txt", "b")):
        assert Path(store.client.download_artifacts(run, path)).read_text() == text
    assert not journal.path.with_suffix(".files").exists()


def test_a_name_that_mlflow_refuses_spoils_no_batch(root, run_of):
    journal = open_journal(root, "evaluate", "evaluate")
    journal.metrics({"plays.Love's Labour's Lost": 2.1, "Été: 1905": 2.0, "plain": 1.0})
    journal.close()
    deliver_all(root)
    metrics = run_of(journal).data.metrics
    assert metrics == {"plays.Love_s Labour_s Lost": 2.1, "Été_ 1905": 2.0, "plain": 1.0}


def test_a_run_that_a_person_deleted_is_passed_over_and_said(root, store, run_of, capsys):
    journal = open_journal(root, "evaluate", "evaluate")
    deliver_all(root)
    run = run_of(journal).info.run_id
    store.client.delete_run(run)
    journal.metrics({"x": 1.0})
    journal.close()
    deliver_all(root)
    assert f"the record of run {run} has a gap" in capsys.readouterr().err
    assert journals(root / RUNS) == []


def test_a_deleted_experiment_is_named_with_the_command_that_restores_it(root, store, run_of):
    journal = open_journal(root, "evaluate", "evaluate")
    journal.metrics({"x": 1.0})
    store.client.delete_experiment(store.experiment_id)
    try:
        with pytest.raises(RegistryError, match="was deleted") as said:
            deliver_all(root)
    finally:
        command = str(said.value).rpartition("it: ")[2]
        assert command == f"mlflow experiments restore --experiment-id {store.experiment_id}"
        store.client.restore_experiment(store.experiment_id)
    journal.close()
    deliver_all(root)
    assert run_of(journal).data.metrics == {"x": 1.0}


def test_a_store_that_was_made_anew_gets_the_whole_journal(tmp_path, root, run_of, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.as_posix()}/mlflow.db")
    journal = open_journal(tmp_path, "pretrain", "pretrain")
    journal.metrics({"x": 1.0})
    deliver_all(tmp_path)
    note = journal.path.with_suffix(".mlflow")
    note.write_text(note.read_text().replace(run_of(journal).info.run_id, "0" * 32))
    journal.metrics({"y": 2.0})
    journal.close()
    with pytest.raises(RegistryError, match="0000"):
        deliver_all(tmp_path)
    deliver_all(tmp_path)
    assert run_of(journal).data.metrics == {"x": 1.0, "y": 2.0}


def test_runs_of_dead_processes_are_ended_and_no_others(root, store, run_of):
    running = [create_run(store, name, {}) for name in ("living", "dead", "elsewhere")]
    for run, host in ((running[1], None), (running[2], "another")):
        store.client.set_tag(run, "minigpt.process.started", "1.0")
        if host:
            store.client.set_tag(run, "minigpt.process.host", host)
    journal = open_journal(root, "pretrain", "pretrain")
    deliver_all(root)
    waits = run_of(journal).info.run_id
    store.client.set_tag(waits, "minigpt.process.started", "1.0")
    end_abandoned(store, {journal.id})
    ended = [store.client.get_run(run).info.status for run in (*running, waits)]
    assert ended == ["RUNNING", "KILLED", "RUNNING", "RUNNING"]
    journal.close()
    deliver_all(root)
    assert run_of(journal).info.status == "FINISHED"


def test_a_run_that_is_more_than_a_record_raises_what_the_store_refuses(store):
    tracker = MlflowTracker(store, "0" * 32)  # a run that is not there
    with pytest.raises(RegistryError, match="0000"):
        tracker.tag("a", "b")


def test_a_stage_imports_neither_mlflow_nor_what_asks_a_server(tmp_path):
    code = (
        "import sys; from pathlib import Path; from minigpt.tracking import open_journal\n"
        "import minigpt.run; root = Path(sys.argv[1])\n"
        "run = open_journal(root, 'pretrain', 'pretrain'); run.metrics({'x': 1.0}, 1)\n"
        "run.artifact(root / 'a'); run.close()\n"
        "print({'mlflow', 'sqlalchemy', 'requests', 'http'} & set(sys.modules))"
    )
    (tmp_path / "a").write_text("a")
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "set()\n", "")


def test_making_and_filling_a_store_says_nothing(tmp_path):
    code = (
        "import sys; from pathlib import Path; from minigpt.tracking import open_journal\n"
        "from minigpt.tracking.delivery import deliver_all; root = Path(sys.argv[1])\n"
        "open_journal(root, 'pretrain', 'pretrain').close(); deliver_all(root)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert open_store(tmp_path).client.search_runs(["1"])
