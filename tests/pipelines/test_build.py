"""The flow on a real Prefect server, a real DVC and a real MLflow store."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# One process does all of it: the server's start is the dear part.
SCRIPT = """
import json, logging, os, sys
from pathlib import Path
from minigpt.errors import RegistryError, StageError
from minigpt.process import workspace_lock
from minigpt.tracking.journal import RUNS, journals
from minigpt.tracking.store import open_store
from pipelines.server import log_to_file, start_server

root = Path.cwd()
with workspace_lock(root):
    wait = start_server(root)
    log_to_file(root)
    from prefect import tags
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from pipelines.build import build
    wait()

    class Seen(logging.Handler):
        def emit(self, record):
            seen.append(record)

    seen = []
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addHandler(Seen())

    def story(state):
        with get_client(sync_client=True) as client:
            chosen = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
            tasks = client.read_task_runs(flow_run_filter=chosen)
            artifacts = client.read_artifacts(flow_run_filter=chosen)
            name = client.read_flow_run(state.state_details.flow_run_id).name
        (table,) = (artifact.data for artifact in artifacts if artifact.type == "table")
        rows = {row["stage"]: row for row in json.loads(table)}
        log = [[record.levelname, record.getMessage()] for record in seen if record.flow_run_id ==
               str(state.state_details.flow_run_id)]
        order = sorted(tasks, key=lambda task: task.start_time)
        return {
            "name": name,
            "log": log,
            "state": state.name,
            "message": state.message,
            "tags": sorted({tag for task in tasks for tag in task.tags}),
            "tasks": [[task.name, task.state.name, task.run_count] for task in order],
            "rows": rows,
        }

    found = {}
    Path("beta.fails").touch()
    with tags("of-the-flow"):
        found["failed"] = story(build(return_state=True))
    Path("beta.fails").unlink()
    Path("zeta.txt").unlink()
    found["mended"] = story(build(return_state=True))
    found["again"] = story(build(return_state=True))
    Path("alpha.txt").unlink()
    found["one"] = story(build(until="zeta", return_state=True))
    wrong = build(until="zetta", return_state=True)
    found["mistyped"] = {
        "message": wrong.message,
        "raises": type(wrong.result(raise_on_failure=False)).__name__,
        "log": [[record.levelname, record.getMessage(), bool(record.exc_info)] for record in seen
                if record.flow_run_id == str(wrong.state_details.flow_run_id)],
    }
    params = Path("params.yaml").read_text()
    Path("params.yaml").write_text("sed: 1\\n")
    found["refused"] = build(return_state=True).message
    store = open_store(root)
    runs = store.client.search_runs([store.experiment_id], order_by=["start_time ASC"])
    commit = "mlflow.source.git.commit"
    found["parents"] = [[run.info.status, run.data.tags[commit]] for run in runs]
    found["journals"] = [path.name for path in journals(root / RUNS)]
    Path("params.yaml").write_text(params)
    def locked(*_):
        raise RegistryError("mlflow.db is locked")
    sys.modules["pipelines.build"].run_stage = locked
    found["locked"] = build(return_state=True).message
    print("FOUND", json.dumps(found))
"""


@pytest.fixture(scope="module")
def report(template, tmp_path_factory):
    root = tmp_path_factory.mktemp("flow") / "project"
    shutil.copytree(template, root)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=root, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown, _, data = done.stdout.partition("FOUND ")
    return {**json.loads(data), "shown": shown, "stderr": done.stderr, "root": root}


def test_a_failed_stage_ends_the_flow_and_nothing_after_it_runs(report):
    failed = report["failed"]
    assert failed["state"] == "Failed"
    assert failed["tasks"] == [
        ["zeta", "Completed", 1],
        ["beta", "Failed", 2],
    ]  # one retry
    assert failed["message"] == "beta: 2 documents fail\n  a.txt  bad"
    assert failed["rows"]["beta"]["outcome"] == "failed"
    assert failed["rows"]["beta"]["digest"] == ""


def test_the_log_of_a_run_tells_of_every_stage_and_what_failed(report):
    mended = [line for level, line in report["mended"]["log"] if level == "INFO"]
    for line in (
        "fake · 3 stages · ",
        "zeta: restored in ",
        "beta: step 1/2",
        "beta: wrote 52 characters",
        "alpha: ran in ",
    ):
        assert any(said.startswith(line) for said in mended), mended
    again = [line for _, line in report["again"]["log"]]
    assert [line for line in again if line.endswith("unchanged")] == [
        f"{stage}: unchanged" for stage in ("zeta", "beta", "alpha")
    ]
    assert ["ERROR", "beta: 2 documents fail\n  a.txt  bad"] in report["failed"]["log"]


def test_a_run_is_called_by_release_what_it_does_and_when(report):
    assert re.fullmatch(r"fake · build \d{4}-\d\d-\d\d \d\d:\d\d", report["mended"]["name"])
    assert report["one"]["name"].startswith("fake · build until zeta 2")


def test_a_mistyped_stage_is_one_line_with_the_one_meant_and_no_traceback(report):
    said = "until: there is no stage 'zetta' in dvc.yaml; did you mean zeta? There are: "
    mistyped = report["mistyped"]
    assert mistyped["message"].startswith(said)
    assert mistyped["raises"] == "ParamsError"
    worse = [[level, line] for level, line, _ in mistyped["log"] if level != "INFO"]
    assert worse == [["ERROR", mistyped["message"]]]
    assert not any(traceback for *_, traceback in mistyped["log"])


def test_ran_and_cached_are_told_apart(report):
    mended = report["mended"]
    assert mended["state"] == "Completed"
    assert [task[:2] for task in mended["tasks"]] == [
        ["zeta", "Cached"],
        ["beta", "Completed"],
        ["alpha", "Completed"],
    ]
    outcomes = {name: row["outcome"] for name, row in mended["rows"].items()}
    assert outcomes == {"zeta": "restored", "beta": "ran", "alpha": "ran"}
    assert mended["rows"]["alpha"]["what happened"] == "wrote 52 characters"
    assert len(mended["rows"]["alpha"]["digest"]) == 64


def test_nothing_to_do_is_cached_throughout_and_shows_no_table(report):
    again = report["again"]
    assert {task[1] for task in again["tasks"]} == {"Cached"}
    assert {row["outcome"] for row in again["rows"].values()} == {"unchanged"}
    assert [row["digest"] for row in again["rows"].values()] == [
        row["digest"] for row in report["mended"]["rows"].values()
    ]
    assert report["shown"].count("what happened") == 2  # the table of each of the first two runs


def test_a_run_that_does_something_has_an_mlflow_run_and_a_run_that_does_not_has_none(report):
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=report["root"], capture_output=True, text=True).stdout.strip()
    # Nor has a build of what was up to date, though a stage behind it was not.
    assert report["parents"] == [["FAILED", commit], ["FINISHED", commit]]
    assert report["journals"] == []


def test_what_a_task_raises_is_what_the_flow_fails_with(report):
    assert report["locked"] == "mlflow.db is locked"


def test_bad_params_are_refused_before_anything_runs(report):
    assert "params.yaml: sed: unknown key; did you mean seed?" in report["refused"]


def test_the_terminal_is_ours_and_prefects_log_is_in_a_file(report):
    assert report["stderr"] == ""
    assert "Flow run" not in report["shown"]
    assert "step 1/2" in (report["root"] / ".work/logs/flow.log").read_text()
    assert (report["root"] / ".prefect/prefect.db").is_file()
