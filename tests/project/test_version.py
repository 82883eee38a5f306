"""A registered version works where the checkout is not."""

import json
import os
import site
import sys

LOAD = """
import os, sys
import mlflow
model = mlflow.pyfunc.load_model("models:/minigpt-tiny@champion")
[text] = model.predict(["My fellow"], params={"max_tokens": 12, "seed": 3})
import minigpt
print(minigpt.__file__)
print(len(text) > 0)
"""


def test_a_version_loads_and_generates_in_a_process_that_cannot_import_the_checkout(
    registered, tmp_path
):
    packages = os.pathsep.join(site.getsitepackages())
    uri = f"sqlite:///{registered.root}/mlflow.db"
    done = registered.run(
        sys.executable,
        "-S",
        "-c",
        LOAD,
        cwd=tmp_path,
        env={"PYTHONPATH": packages, "MLFLOW_TRACKING_URI": uri},
    )
    file, spoke = done.stdout.strip().splitlines()[-2:]
    assert "/mlruns/" in file
    assert spoke == "True"


def test_sync_is_idempotent_and_never_promotes(project):
    first = project.minigpt("registry", "sync", "--json").stdout
    assert project.minigpt("registry", "sync", "--json").stdout == first
    assert '"alias": "challenger"' in first
    listed = project.minigpt("registry", "list", "--json").stdout
    assert "champion" not in listed
    project.minigpt("registry", "promote", "challenger")
    assert "champion" in project.minigpt("registry", "list").stdout


def test_what_changed_since_the_build_is_not_recorded_as_what_it_was_made_from(project):
    path = project.root / "stages" / "pretrain.py"
    code = path.read_text()
    path.write_text(f"{code}# edited after the build\n")
    project.set_params(lambda p: p.update(seed=77))
    done = project.minigpt("registry", "sync", check=False)
    assert done.returncode == 1
    assert "stages/pretrain.py" in done.stderr
    assert "changed since pretrain was built" in done.stderr
    assert done.stderr.rstrip().endswith("Run: dvc repro")
    path.write_text(code)
    done = project.minigpt("registry", "sync", check=False)
    assert (done.returncode, "params.yaml changed since" in done.stderr) == (1, True)
    project.run("git", "checkout", "-q", "params.yaml")
    assert '"version": "1"' in project.minigpt("registry", "sync", "--json").stdout


def test_the_flow_and_the_commands_by_hand_give_the_same_aliases(built, registered):
    [[by_flow], [by_hand]] = (
        json.loads(p.minigpt("registry", "list", "--json").stdout) for p in (built, registered)
    )
    for key in ("name", "version", "aliases", "digest", "bits_per_byte", "dirty"):
        assert by_flow[key] == by_hand[key]
    assert not by_flow["dirty"]


def test_a_second_run_of_the_flow_reports_every_stage_unchanged(built):
    done = built.flow()
    assert "10 of 10 stages unchanged · version 1 is champion" in done.stdout + done.stderr


def test_runs_are_nested_and_carry_digests(built):
    code = (
        "from mlflow import MlflowClient\n"
        "c = MlflowClient('sqlite:///mlflow.db')\n"
        "e = c.get_experiment_by_name('minigpt')\n"
        "runs = c.search_runs([e.experiment_id])\n"
        "child = [r for r in runs if r.data.tags.get('minigpt.stage') == 'pretrain'][0]\n"
        "assert child.data.tags['mlflow.parentRunId'] in {r.info.run_id for r in runs}\n"
        "assert len(child.data.tags['minigpt.output_digest']) == 64\n"
        "assert c.get_metric_history(child.info.run_id, 'train/loss')\n"
        "wanted = {'train/lr', 'train/grad_norm', 'train/tokens_per_second', 'train/mfu'}\n"
        "assert wanted <= set(child.data.metrics)\n"
        "assert child.inputs.dataset_inputs\n"
    )
    built.run(sys.executable, "-c", code)
