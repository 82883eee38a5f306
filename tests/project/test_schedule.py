"""A schedule on a real Prefect server, offline; what `make up` starts is ended by `make down`."""

import re
import sys
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.prove
def test_the_schedule_fires_offline_waits_survives_kills_and_ends(project, no_network):
    prefix, _guard = no_network
    if not prefix:
        pytest.skip("needs a namespace without network (unshare -rn)")
    # A store of its own: the run by schedule registers what was built before it.
    script = str(HERE / "scheduled.py")
    said = project.run(sys.executable, script, prefix=prefix).stdout
    assert said.count("holds: ") == 6, said
    assert project.params()["quantize"]["logit_tokens"] == 68


@pytest.mark.prove
def test_a_run_that_fails_by_schedule_leaves_the_champion(registered):
    before = registered.minigpt("registry", "list", "--json").stdout
    # Nothing can be that short: validate fails.
    registered.set_params(lambda p: p["validate"].update(pretrain_bytes={"min": 1, "max": 2}))
    code = (
        "from pipelines.release import release\n"
        "from pipelines.server import start_server\n"
        "from pathlib import Path\n"
        "start_server(Path.cwd())()\n"
        "state = release(wait=True, return_state=True)\n"
        "print(state.name, state.message)\n"
    )
    said = registered.run(sys.executable, "-c", code).stdout
    assert re.search(r"^Failed .*validate: ", said, re.MULTILINE), said
    assert registered.minigpt("registry", "list", "--json").stdout == before


@pytest.mark.prove
def test_a_sweep_finds_the_best_and_touches_nothing(registered):
    before = {path: registered.sha256(path) for path in ("params.yaml", "dvc.lock")}
    settings = "finetune.duration.max_steps=5,60"
    said = registered.run(sys.executable, "-m", "pipelines.sweep", settings).stdout
    assert re.search(r"best: finetune.duration.max_steps=60 · \d\.\d{4}", said), said
    assert {path: registered.sha256(path) for path in before} == before
    assert registered.run("git", "status", "--porcelain").stdout == ""
    shown = registered.run("dvc", "exp", "show", "--json").stdout
    assert shown.count('"name": "sweep-') >= 2
    code = (
        "from mlflow import MlflowClient as C\n"
        "c = C('sqlite:///mlflow.db')\n"
        "runs = c.search_runs(['1'])\n"
        "top = next(r for r in runs if r.info.run_name.startswith('sweep · '))\n"
        "below = [r for r in runs if r.data.tags.get('mlflow.parentRunId') == top.info.run_id]\n"
        "print(len(below), top.data.tags['minigpt.best'], sorted('figure' in r.data.metrics\n"
        "      for r in below))\n"
    )
    printed = registered.run(sys.executable, "-c", code).stdout
    assert printed.strip() == "2 finetune.duration.max_steps=60 [True, True]"


def test_up_shows_the_runs_and_down_ends_everything(registered):
    said = registered.run(sys.executable, "-m", "pipelines.up").stdout
    try:
        assert said.endswith("To end all of it: make down\n")
        urls = dict(re.findall(r"^  (\w+) +(http://\S+) ", said, re.MULTILINE))
        api = f"{urls['mlflow']}/ajax-api/2.0/mlflow/experiments"
        with urllib.request.urlopen(f"{api}/get-by-name?experiment_name=minigpt") as answer:
            assert '"minigpt"' in answer.read().decode()
        with urllib.request.urlopen(f"{urls['prefect']}/ui-settings") as answer:
            assert f'"{urls["prefect"]}/api"' in answer.read().decode()
        deployment = "api/deployments/name/release/nightly"
        with urllib.request.urlopen(f"{urls['prefect']}/{deployment}") as answer:
            assert '"0 3 * * *"' in answer.read().decode()
    finally:
        registered.run(sys.executable, "-m", "pipelines.up", "--down", "--force")
    for word in ("uvicorn", "mlflow", "pipelines"):
        assert registered.processes(word) == []
