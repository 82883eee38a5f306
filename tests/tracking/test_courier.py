"""Servers that hang, end and come back beside a run: real sockets, and MLflow's own handlers."""

import multiprocessing
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from minigpt.errors import RegistryError
from minigpt.process import take_lock
from minigpt.tracking import courier, open_journal, silence
from minigpt.tracking.courier import Courier, trouble_of
from minigpt.tracking.delivery import COURIER, TROUBLE, courier_at_work, deliver_all, waiting
from minigpt.tracking.journal import RUNS, journals, store_of
from minigpt.tracking.store import open_store
from tests.patience import patience, until


def test_a_flow_ends_beside_a_server_that_never_answers_and_says_what_waits(
    silent, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(courier, "END_SECONDS", patience(0.2))
    journal = open_journal(tmp_path, "pipeline")
    with Courier(journal.path.parent).at_work():
        journal.metrics({"loss": 1.0}, 0)
        journal.close()
    said = capsys.readouterr().err
    assert f"3 events of 1 runs wait in .work/runs ({silent} does not answer" in said
    assert "`minigpt registry sync` delivers them" in said
    assert journals(journal.path.parent) == [journal.path]


STAGE = """
import json, os, sys
sockets = []
sys.addaudithook(lambda name, args: sockets.append(args) if name == "socket.connect" else None)
from minigpt.config import Config
from minigpt.run import open_run
with open_run("work", Config()) as run:
    run.report(1, {"loss": 1.0})
    open("out.txt", "w").close()
print(json.dumps([len(sockets), sorted({"mlflow", "socket", "requests"} & set(sys.modules))]))
"""
GRAPH = "stages: {work: {cmd: 'true', deps: [dvc.yaml], outs: [out.txt]}}"


@pytest.fixture
def stage(tmp_path):
    """A function that runs a stage in a project of its own; what it printed."""
    (tmp_path / "dvc.yaml").write_text(GRAPH)

    def run(**environment):
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", STAGE], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": path, **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_a_stage_asks_no_server_and_imports_nothing_that_could(stage, silent, tmp_path):
    done = stage(MINIGPT_PARENT_RUN=str(tmp_path / RUNS / "flow.jsonl"))
    assert done.stdout == '[0, ["socket"]]\n'  # owner: the name of this host
    assert waiting(tmp_path / RUNS)[1] == 1


def test_a_stage_under_plain_dvc_leaves_its_run_to_a_process_that_ends(stage, root, tmp_path):
    address = f"sqlite:///{root.as_posix()}/mlflow.db"
    done = stage(MLFLOW_TRACKING_URI=address)
    assert done.stderr == ""
    until(lambda: not journals(tmp_path / RUNS))
    until(lambda: not courier_at_work(tmp_path / RUNS, address))
    assert trouble_of(tmp_path / RUNS) is None
    assert (tmp_path / ".work/logs/courier.log").read_text() == ""


def test_without_a_tracker_nothing_is_written(stage, tmp_path):
    stage(MINIGPT_TRACKER="none")
    assert not (tmp_path / RUNS).exists()


def test_the_next_stage_says_why_nothing_is_delivered(stage, tmp_path):
    (tmp_path / RUNS).mkdir(parents=True)
    (tmp_path / RUNS / TROUBLE).write_text("the experiment was deleted\n")
    lock = take_lock(tmp_path / RUNS / COURIER)  # one is at work
    try:
        done = stage()
    finally:
        os.close(lock)
    assert "its record waits in .work/runs: the experiment was deleted" in done.stderr


def test_a_record_goes_to_the_store_of_its_own_stage_while_another_courier_is_at_work(
    stage, root, store, tmp_path
):
    address = f"sqlite:///{root.as_posix()}/mlflow.db"
    before = len(store.client.search_runs([store.experiment_id], "", max_results=100))
    dead = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    stage(**dead)
    until(lambda: courier_at_work(tmp_path / RUNS, dead["MLFLOW_TRACKING_URI"]))
    assert stage(MLFLOW_TRACKING_URI=address).stderr == ""  # nothing of the other one's trouble
    until(lambda: not journals(tmp_path / RUNS, address))
    runs = store.client.search_runs([store.experiment_id], "", max_results=100)
    assert len(runs) == before + 1
    [waits] = journals(tmp_path / RUNS)
    assert store_of(waits) == dead["MLFLOW_TRACKING_URI"]
    until(lambda: not courier_at_work(tmp_path / RUNS, dead["MLFLOW_TRACKING_URI"]))


def test_a_reason_that_is_gone_is_not_told_again(tmp_path):
    journal = open_journal(tmp_path, "pretrain")
    journal.close()
    carrier = Courier(tmp_path / RUNS)
    carrier.trouble = "the server is down"
    journal.path.unlink()  # another process delivered it
    assert carrier.try_round()
    assert carrier.trouble == ""


def serve(database, artifacts, port, ports, lose):
    """MLflow's own handlers behind HTTP. `lose`: how many answers to changes are lost."""
    os.environ["_MLFLOW_SERVER_FILE_STORE"] = f"sqlite:///{database.as_posix()}"
    os.environ["_MLFLOW_SERVER_ARTIFACT_ROOT"] = str(artifacts)
    from mlflow.server import app

    def application(environ, start_response):
        answer = list(app(environ, start_response))
        changes = environ["REQUEST_METHOD"] == "POST" and "search" not in environ["PATH_INFO"]
        if changes and lose.value:
            lose.value -= 1
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer

    class Quiet(WSGIRequestHandler):
        def log(self, *_):
            pass

    server = make_server("127.0.0.1", port, application, True, request_handler=Quiet)
    ports.put(server.port)
    server.serve_forever()


class Server:
    """That in a process of its own, over the store of all tests."""

    def __init__(self, root, artifacts, port=0):
        context = multiprocessing.get_context("fork")
        ports, self.lose = context.Queue(), context.Value("i", 0)
        self._process = context.Process(
            target=serve, args=(root / "mlflow.db", artifacts, port, ports, self.lose), daemon=True
        )
        self._process.start()
        self.port = ports.get()

    def kill(self):
        self._process.kill()
        self._process.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the server starts from this one's imports")
def test_a_server_that_is_killed_and_comes_back_misses_no_metric_and_has_none_twice(
    root, store, run_of, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(silence, "ANSWER_SECONDS", patience(30))
    server = Server(root, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.port}")
    journal = open_journal(tmp_path, "pretrain", "pretrain")

    def deliver_past_lost_answers(count):
        server.lose.value = count
        for _ in range(count):
            with pytest.raises(RegistryError):
                deliver_all(tmp_path)
        deliver_all(tmp_path)

    deliver_past_lost_answers(1)  # the run was made, and nobody was told
    for step in range(3):
        journal.metrics({"loss": float(step)}, step)
        deliver_past_lost_answers(step)
    server.kill()
    journal.metrics({"loss": 3.0}, 3)
    with pytest.raises(RegistryError, match="does not answer"):
        deliver_all(tmp_path)
    server = Server(root, tmp_path, server.port)
    journal.metrics({"loss": 4.0}, 4)
    journal.close()
    deliver_past_lost_answers(2)
    server.kill()
    run = run_of(journal)
    history = store.client.get_metric_history(run.info.run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(s, float(s)) for s in range(5)]
    assert run.info.status == "FINISHED"


def test_curves_are_there_while_the_stage_works(tmp_path, root, run_of, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root.as_posix()}/mlflow.db")
    journal = open_journal(tmp_path, "pretrain", "pretrain")
    with Courier(journal.path.parent).at_work():
        journal.metrics({"loss": 1.0}, 0)
        until(lambda: waiting(journal.path.parent) == (0, 0))
        run = run_of(journal)
        assert (run.info.status, run.data.metrics) == ("RUNNING", {"loss": 1.0})
        journal.close()
    assert run_of(journal).info.status == "FINISHED"
    assert journals(journal.path.parent) == []
    assert open_store(root).uri == store.uri
