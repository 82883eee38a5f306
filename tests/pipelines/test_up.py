"""The supervisor with services of a line: what dies is started again, and nothing outlives it."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL

from minigpt.errors import BusyError, MiniGPTError, ParamsError
from minigpt.process import is_alive, take_lock, workspace_lock
from pipelines import server, up
from pipelines.api_url import publish, published
from pipelines.services import (
    LOCAL,
    MARK,
    UP_LOCK,
    a_port,
    become_supervisor,
    marked,
    read_up,
    server_url,
    supervisor_pid,
)
from pipelines.supervisor import LOG_BYTES, Service, Supervisor, services
from pipelines.terminal import script
from tests.patience import patience, until

CHECKOUT = Path(__file__).resolve().parents[2]
FAKE = """
import os, sys
from pipelines import supervisor
from pipelines.supervisor import Service

WAIT = "import subprocess, sys, time; subprocess.Popen(['sleep', '3600']); time.sleep(3600)"
SERVE = "import http.server, sys; http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), "
SERVE += "http.server.SimpleHTTPRequestHandler).serve_forever()"

def fake(root, cron):
    server = Service("prefect", lambda s: [sys.executable, "-c", SERVE, str(s.port)],
                     lambda s: {}, port=int(os.environ["WANTED"]), health="/")
    clock = Service("schedule", lambda s: [sys.executable, "-c", WAIT], lambda s: {}, port=None,
                    needs=server)
    return [server, clock]

supervisor.services = fake
supervisor.tracking_uri = lambda root: "http://elsewhere"
sys.exit(supervisor.main(["--cron", "* * * * *"]))
"""


def is_ready(root):
    state = read_up(root)
    return state if state and state["ready"] else None


def sleeps(root):
    return sum("sleep" in process.cmdline() for process in marked(root))


@pytest.fixture
def running(tmp_path, monkeypatch):
    """A supervisor of two fakes, the first of which wants a port that somebody else has."""
    taken = socket.create_server((LOCAL, 0))
    wanted = str(taken.getsockname()[1])
    monkeypatch.setattr(up, "STOP_SECONDS", patience(20))
    process = subprocess.Popen(
        [sys.executable, "-c", FAKE],
        cwd=tmp_path,
        env=os.environ | {"WANTED": wanted, "PYTHONPATH": str(CHECKOUT), MARK: str(tmp_path)},
        start_new_session=True,
    )
    yield tmp_path, process, int(wanted)
    taken.close()
    up.down(tmp_path, force=True)
    process.wait()
    assert list(marked(tmp_path)) == []


def test_a_taken_port_gives_way_to_a_free_one():
    with socket.create_server((LOCAL, 0)) as taken:
        port = taken.getsockname()[1]
        assert a_port(port) != port
    assert a_port(port) == port


def test_what_dies_starts_again_at_the_same_address(running, monkeypatch):
    root, _, wanted = running
    first = until(lambda: is_ready(root))
    until(lambda: sleeps(root) == 1)
    url = first["services"]["prefect"]["url"]
    assert url != f"http://{LOCAL}:{wanted}"
    assert server_url(root) == published(root) == f"{url}/api"
    used = {}
    monkeypatch.setattr(server, "use", used.update)
    server.start_server(root)()
    assert used[PREFECT_API_URL] == f"{url}/api", "make run tells its story there"
    for name in ("prefect", "schedule"):
        pid = read_up(root)["services"][name]["pid"]
        os.kill(pid, signal.SIGKILL)
        again = until(
            lambda name=name, pid=pid: (
                (state := is_ready(root)) and state["services"][name]["pid"] != pid and state
            )
        )
        assert again["services"]["prefect"]["url"] == url
    # the sleep that the killed schedule had started went with it
    until(lambda: sleeps(root) == 1)


def test_nothing_is_left_after_down_though_the_supervisor_was_killed(running):
    root, process, _ = running
    until(lambda: is_ready(root))
    # Two lifelines, two services, and what one of these started.
    until(lambda: len(psutil.Process(process.pid).children(recursive=True)) == 5)
    pids = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    process.kill()
    process.wait()
    assert read_up(root) is None
    up.down(root)
    assert [pid for pid in pids if is_alive(pid)] == []
    assert not (root / ".work" / "up.json").exists()
    assert not (root / "prefect.toml").exists()
    assert up.down(root) == ["nothing is up here. To start it: make up"]


def test_the_server_is_not_taken_from_under_a_run_by_hand(running, monkeypatch):
    root, process, _ = running
    until(lambda: is_ready(root))
    with workspace_lock(root, name="make run"):
        with pytest.raises(BusyError, match=r"make run \(pid .* make down ARGS=--force"):
            up.down(root)
        assert process.poll() is None
    up.down(root)
    assert process.wait() == 0


def test_a_service_that_cannot_start_is_named(tmp_path, monkeypatch):
    def start(root, cron, prefect):
        (root / ".work" / "logs").mkdir(parents=True)
        (root / ".work" / "logs" / "up.log").write_text("no such thing\n\n")
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"])

    monkeypatch.setattr(up, "start", start)
    monkeypatch.setattr(up, "open_store", lambda root: None)
    with pytest.raises(MiniGPTError, match=r"up does not start: no such thing"):
        up.up(tmp_path, "* * * * *")


def test_a_server_of_the_users_that_does_not_answer_is_named_before_anything_starts(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PREFECT_API_URL", "foo")
    monkeypatch.setattr(up, "start", lambda *_: pytest.fail("started"))
    with pytest.raises(MiniGPTError, match="no Prefect server answers at foo"):
        up.up(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_another_schedule_than_the_one_that_is_up_is_refused(tmp_path, monkeypatch):
    state = {"ready": True, "cron": "0 3 * * *", "services": {}}
    monkeypatch.setattr(up, "read_up", lambda root: state)
    with pytest.raises(ParamsError, match=r"with the schedule '0 3 \* \* \*'.*make down, then"):
        up.up(tmp_path, "5 4 * * *")
    for same in (None, "0 3 * * *"):
        assert up.up(tmp_path, same)[0].endswith("is up already")


@pytest.mark.parametrize(
    ("deployment", "said"),
    [
        ({"paused": False, "schedules": [{"active": True}]}, "0 3 * * *"),
        ({"paused": True, "schedules": [{"active": True}]}, "0 3 * * * (paused in Prefect)"),
        ({"paused": False, "schedules": [{"active": False}]}, "0 3 * * * (paused in Prefect)"),
        (None, "0 3 * * *"),  # it wants a key, say
    ],
)
def test_what_is_up_says_how_to_run_it_and_that_it_is_paused(
    deployment, said, tmp_path, monkeypatch
):
    asked = []

    def answer(url, **_):
        asked.append(url)
        if deployment is None:
            raise OSError
        return io.BytesIO(json.dumps(deployment).encode())

    monkeypatch.setattr(up.urllib.request, "urlopen", answer)
    url = "http://127.0.0.1:4200"
    found = {"prefect": {"url": url}, "schedule": {"url": None, "pid": 7}}
    status = {"cron": "0 3 * * *", "api": f"{url}/api", "services": found}
    lines = up.told(tmp_path, status, "is up")
    assert asked == [f"{url}/api/deployments/name/release/nightly"]
    [schedule] = [line for line in lines if line.startswith("  schedule")]
    assert schedule.endswith(f": {said}")
    command = f"{script(tmp_path, 'prefect')} deployment run release/nightly"
    assert f"To run it now: PREFECT_API_URL={url}/api {command}" in lines
    publish(tmp_path, f"{url}/api")  # then Prefect finds it by itself, in this folder
    lines = up.told(tmp_path, status, "is up")
    assert f"To run it now: {command}" in lines
    assert f"  in another folder, before it: export PREFECT_API_URL={url}/api" in lines
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere/api")  # which outranks the file
    lines = up.told(tmp_path, status, "is up")
    assert f"To run it now: PREFECT_API_URL={url}/api {command}" in lines


def test_who_only_asks_is_not_taken_for_the_supervisor(tmp_path):
    def asked():  # as supervisor_pid of another process does
        closing = threading.Timer(0.3, os.close, [take_lock(tmp_path / UP_LOCK)])
        closing.start()
        return closing

    asking = asked()
    assert supervisor_pid(tmp_path) is None
    asking.join()
    asking = asked()
    lock = become_supervisor(tmp_path)
    asking.join()
    assert lock is not None
    os.close(lock)


def test_a_schedule_that_is_none_is_refused(capsys):
    assert up.main(["--cron", "sometimes"]) == 2
    assert "expected minute hour day month weekday" in capsys.readouterr().err


def test_a_process_of_another_checkout_is_not_ours(tmp_path):
    other = subprocess.Popen(["sleep", "3600"], env=os.environ | {MARK: str(tmp_path / "other")})
    try:
        assert list(marked(tmp_path)) == []
        assert psutil.Process(other.pid).is_running()
    finally:
        other.kill()
        other.wait()


def test_what_writes_a_file_once_it_has_begun_is_not_ready_before(tmp_path):
    """The deployments of the last time stand on the server before they are registered again."""
    begun = tmp_path / "begun"
    begun.touch()  # of the last time
    service = Service("schedule", lambda _: ["sleep", "3600"], lambda _: {}, port=None, begun=begun)
    service.start(tmp_path)
    assert not service.answers()
    begun.touch()
    assert service.answers()
    service.stop()


@pytest.mark.parametrize("elsewhere", ["", "http://127.0.0.1:9/api"])
def test_the_schedule_ends_first_and_gently_wherever_its_server_is(
    elsewhere, tmp_path, monkeypatch
):
    monkeypatch.setenv("PREFECT_API_URL", elsewhere)
    ended = []
    monkeypatch.setattr(
        Service, "stop", lambda self, gently=False: ended.append((self.name, gently))
    )
    parts = services(tmp_path, "* * * * *")
    for service in parts:
        service.process = object()
    Supervisor(tmp_path, parts, "* * * * *").stop()
    ours = [] if elsewhere else [("prefect", False)]
    assert ended == [("schedule", True), *ours, ("mlflow", False), ("serve", False)]


@pytest.mark.parametrize(("ready", "said"), [(True, "/docs)"), (False, "there is no champion")])
def test_nobody_waits_for_the_champions_server(ready, said, tmp_path):
    parts = services(tmp_path, "* * * * *")
    for service in parts:
        service.ready = ready or service.awaited
        service.failures = 0 if service.awaited else 100
    Supervisor(tmp_path, parts, "* * * * *").tell()
    state = json.loads((tmp_path / ".work" / "up.json").read_text())
    assert state["ready"]
    assert state["failed"] == []
    [line] = [line for line in up.told(tmp_path, state, "is up") if line.startswith("  serve")]
    assert "http://127.0.0.1:8000" in line
    assert line.endswith(said)


def test_a_log_that_has_grown_is_set_aside_at_the_next_start(tmp_path):
    logs = tmp_path / ".work" / "logs"
    logs.mkdir(parents=True)
    (logs / "clock.log").write_bytes(b"x" * (LOG_BYTES + 1))
    (logs / "clock.log.1").write_text("before")
    clock = Service(
        "clock", lambda _: [sys.executable, "-c", "print('new')"], lambda _: {}, port=None
    )
    for lines in (["new"], ["new", "new"]):
        clock.start(tmp_path)
        clock.process.wait()
        clock.stop()
        assert (logs / "clock.log").read_text().split() == lines
    assert (logs / "clock.log.1").stat().st_size == LOG_BYTES + 1
