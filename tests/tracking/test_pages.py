"""What MLflow's pages of an experiment and its runs show, by what its client answers."""

import itertools
import json
import sqlite3
import subprocess
import sys

import pytest

from minigpt.presets import load_preset, preset_names
from minigpt.tracking import PARENT_ENV, open_journal
from minigpt.tracking.delivery import deliver_all
from minigpt.tracking.experiment import DESCRIPTION, KIND, tags
from minigpt.tracking.figures import figures, read_figures
from minigpt.tracking.mlflow_tracker import create_run, name_version
from minigpt.tracking.origin import origin, program, user
from tests.conftest import ROOT

WHERE = ("mlflow.user", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


@pytest.fixture
def checkout(root, tmp_path, monkeypatch):
    """Another checkout that writes to the store of all tests: with a commit and a params.yaml."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.as_posix()}/mlflow.db")
    (tmp_path / "params.yaml").write_text("release: {name: minigpt-letters}\n")
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "start")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    return tmp_path


def kind_of(store):
    return dict(store.client.mlflow.get_experiment(store.experiment_id).tags)


def test_the_experiment_is_of_machine_learning_and_says_what_a_run_is(store):
    held = kind_of(store)
    assert held[KIND] == "custom_model_development"
    assert "pipeline run" in held[DESCRIPTION]


def test_an_older_experiment_gets_what_it_lacks_and_keeps_what_a_person_chose(root, store):
    with sqlite3.connect(root / "mlflow.db") as database:
        database.execute("delete from experiment_tags")
    store.client.set_experiment_tag(store.experiment_id, DESCRIPTION, "ours")
    open_journal(root, "evaluate", "evaluate").close()
    deliver_all(root)
    assert kind_of(store) == {**tags(), DESCRIPTION: "ours"}
    store.client.set_experiment_tag(store.experiment_id, DESCRIPTION, tags()[DESCRIPTION])


def test_a_run_says_what_it_is_for_and_who_ran_which_file_at_which_commit(checkout, run_of):
    journal = open_journal(checkout, "pretrain", "pretrain")
    journal.close()
    deliver_all(checkout)
    run = run_of(journal)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True
    )
    assert run.info.run_name == "pretrain · minigpt-letters"
    facts = [user(), program(checkout), "LOCAL", head.stdout.strip()]
    assert [run.data.tags[key] for key in WHERE] == facts


def test_a_checkout_without_git_or_params_has_runs_all_the_same(tmp_path, run_of, root):
    assert "mlflow.source.git.commit" not in origin(tmp_path)
    journal = open_journal(root, "pretrain", "pretrain")
    journal.close()
    deliver_all(root)
    assert run_of(journal).info.run_name == "pretrain"


def test_the_source_of_a_stage_is_its_file_in_the_checkout(tmp_path):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").touch()
    code = "from pathlib import Path\nfrom minigpt.tracking.origin import program\n"
    (tmp_path / "stages" / "pretrain.py").write_text(f"{code}print(program(Path.cwd()))\n")
    done = subprocess.run(
        [sys.executable, "-m", "stages.pretrain"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "stages/pretrain.py"


def test_the_name_of_the_versions_tells_the_preset():
    names = [load_preset(ROOT, name).release.name for name in preset_names(ROOT)]
    assert len(set(names)) == len(names)


def test_a_result_has_the_name_and_the_place_of_the_end_of_its_curve(
    root, store, run_of, monkeypatch
):
    clock = itertools.count(1_700_000_000_000)  # of two points of one step, the later one counts
    monkeypatch.setattr("minigpt.tracking.journal.milliseconds", lambda: next(clock))
    journal = open_journal(root, "finetune", "finetune")
    for step in (10, 20):
        journal.metrics({"train/loss": 30.0 / step, "val/loss": 3.0}, step)
    journal.metrics({"val/loss": 2.5, "kept_step": 10})
    journal.close()
    deliver_all(root)
    run = run_of(journal)
    held = {key: value for key, value in run.data.metrics.items() if not key.startswith("system/")}
    assert held == {"train/loss": 1.5, "val/loss": 2.5, "kept_step": 10}
    points = store.client.get_metric_history(run.info.run_id, "val/loss")
    assert [(point.step, point.value) for point in points] == [(10, 3), (20, 3), (20, 2.5)]


def test_the_parent_has_read_what_its_stages_read(root, store, run_of, monkeypatch):
    earlier = open_journal(root, "download", "download")
    earlier.dataset("letters", root, "ab" * 32, "finetune")
    earlier.tag("minigpt.output_digest", "d0c5")
    earlier.close()
    deliver_all(root)
    parent = open_journal(root, "pipeline")
    parent.link("download", "d0c5")
    with monkeypatch.context() as inside:
        inside.setenv(PARENT_ENV, str(parent.path))
        child = open_journal(root, "pretrain", "pretrain")
    child.dataset("pretrain", root, "cd" * 32, "training")
    child.close()
    parent.close()
    for _ in range(2):
        deliver_all(root)
        run = store.client.mlflow.get_run(run_of(parent).info.run_id)
        read = {given.dataset.name: given.dataset.digest for given in run.inputs.dataset_inputs}
        assert read == {"letters": "ab" * 18, "pretrain": "cd" * 18}
        assert len(run.inputs.dataset_inputs) == 2


def test_a_run_is_named_by_the_version_it_made_once_and_a_name_of_a_persons_stays(store):
    ours, theirs, gone = (
        create_run(store, name, {})
        for name in ("pretrain · minigpt", "my best run", "export · minigpt")
    )
    store.client.delete_run(gone)
    for version in ("3", "4"):  # the second build came to the same bytes
        name_version(store, [ours, theirs, gone], "minigpt", version)
    names = [store.client.get_run(run).info.run_name for run in (ours, theirs, gone)]
    assert names == ["pretrain · minigpt 3", "my best run", "export · minigpt"]
    for run in (ours, theirs):
        store.client.set_terminated(run)


def test_the_figures_of_a_build_are_those_of_its_own_outputs(tmp_path):
    (tmp_path / "metrics").mkdir()
    for name, values in (("pretrain", {"val": {"loss": 2}}), ("evaluate", {"old": 1})):
        (tmp_path / "metrics" / f"{name}.json").write_text(json.dumps(values))
    assert figures(read_figures(tmp_path, ["models/base", "metrics/pretrain.json"])) == {
        "pretrain/val/loss": 2.0
    }
    assert set(figures(read_figures(tmp_path))) == {"pretrain/val/loss", "evaluate/old"}
