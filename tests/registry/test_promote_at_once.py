"""Promotion where another process is at work, was killed, or keeps the store from being written."""

import contextlib
import itertools
import multiprocessing
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest

from minigpt.errors import GateRefusedError, RegistryError
from minigpt.registry.promotion import audit_log as log
from minigpt.registry.promotion.history import log_of
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.prune import prune
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.versions import list_versions
from minigpt.tracking import store as stores
from tests.patience import until
from tests.registry.logs import whole_log
from tests.registry.promotions import GATE, NAME, champion, history

pytestmark = pytest.mark.usefixtures("gate_by_figure")
LONG = "She wrote “no”, twice.\n" * 1000


def killed_once_it_is_logged(root, act):
    append = log.AuditLog.append

    def append_and_die(*arguments, **more):
        append(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    log.AuditLog.append = append_and_die
    registry = Registry(root, NAME)
    promote(registry, "2", GATE) if act == "promote" else rollback(registry)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process starts from this one's imports")
@pytest.mark.parametrize(("act", "was", "meant"), [("promote", "1", "2"), ("rollback", "2", "1")])
def test_a_kill_before_champion_moved_leaves_it_and_the_next_change_says_so(
    changed, add_version, act, was, meant
):
    promote(changed.registry, "1", GATE)
    add_version(1.7)
    if act == "rollback":
        promote(changed.registry, "2", GATE)
    before = history(changed)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=killed_once_it_is_logged, args=(changed.root, act))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert champion(changed) == was
    assert f"champion is version {was}, not version {meant}" in log_of(changed.registry).stray
    add_version(1.6)
    promote(changed.registry, "3", GATE)
    assert history(changed)[len(before) + 1 :] == [("found", was, meant), ("promoted", "3", was)]
    assert rollback(changed.registry).version.version == was


@contextlib.contextmanager
def locked(database):
    """As another process that is writing, or was stopped while it did."""
    with contextlib.closing(sqlite3.connect(database)) as holder:
        holder.execute("begin immediate")
        yield
        holder.rollback()


@contextlib.contextmanager
def read_only(database):
    """As on a disk that is mounted read-only. No mode keeps root from writing."""
    places = (database, database.parent)
    for place in places:
        place.chmod(place.stat().st_mode & ~0o222)
    if os.access(database, os.W_OK):
        pytest.skip("this user writes what is read-only")
    yield
    for place in places:
        place.chmod(place.stat().st_mode | 0o200)


@pytest.mark.parametrize(("state", "said"), [(locked, "locked"), (read_only, "readonly")])
def test_a_store_that_cannot_be_written_is_named_and_nothing_changes(
    changed, add_version, monkeypatch, state, said
):
    promote(changed.registry, "1", GATE)
    add_version(1.7)
    before = history(changed)
    monkeypatch.setattr(stores, "BUSY_SECONDS", 0.1)
    with state(changed.root / "mlflow.db"):
        for act in (
            lambda: promote(changed.registry, "2", GATE),
            lambda: register(changed.registry),
        ):
            with pytest.raises(
                RegistryError, match=rf"mlflow\.db: .*{said}.*Nothing was changed"
            ) as refusal:
                act()
            assert "\n" not in str(refusal.value)
    assert (champion(changed), history(changed)) == ("1", before)


def promote_in_child(root, ref, barrier, answers):
    barrier.wait()
    try:
        answers.put(promote(Registry(root, NAME), ref, GATE).version.version)
    except (GateRefusedError, RegistryError) as error:
        answers.put(str(error))


def race(checkout):
    """What two processes were told that promote versions 1 and 2 at once."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    started = [
        context.Process(target=promote_in_child, args=(checkout.root, ref, barrier, answers))
        for ref in ("1", "2")
    ]
    for process in started:
        process.start()
    results = [answers.get() for _ in started]
    for process in started:
        process.join()
    return results


def check_race(checkout):
    results = race(checkout)
    [winner] = [answer for answer in results if answer in ("1", "2")]
    [told] = [answer for answer in results if answer != winner]
    assert "meanwhile" in told or "refused" in told
    promoted = [version for kind, version, _ in history(checkout) if kind == "promoted"]
    assert promoted == [winner] == [champion(checkout)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes start from this one's imports")
def test_of_two_promotions_at_once_exactly_one_wins(changed, add_version):
    add_version(1.8)  # as good as version 1: neither may replace the other
    check_race(changed)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True


@pytest.fixture
def served(checkout, tmp_path, monkeypatch):
    """A checkout whose version 1 is on an MLflow server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = {
        "--backend-store-uri": f"sqlite:///{tmp_path}/server.db",
        "--artifacts-destination": str(tmp_path / "files"),
    }
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, *itertools.chain(*places.items())],
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        cwd=tmp_path,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: answers(port))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        copy = type(checkout)(tmp_path / "client")
        shutil.copytree(checkout.root, copy.root)
        register(copy.registry)
        yield copy
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its uvicorn outlives it otherwise
        server.wait()


def add(served, **figures):
    """Register a version with these figures; what a server hands over is hashed when it is read."""
    served.build(**figures)
    register(served.registry)


@pytest.mark.prove
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes start from this one's imports")
def test_on_a_server_one_of_two_promotions_wins_and_the_log_is_whole(served):
    add(served, plays=2.21)  # as good as version 1 on the speeches
    check_race(served)
    winner = champion(served)
    add(served, tuned=1.7)
    promote(served.registry, "3", GATE)
    assert rollback(served.registry, reason=LONG).version.version == champion(served) == winner
    event = whole_log(served.registry)[-1]
    assert (event.kind, event.version, event.reason) == ("rolled back", winner, LONG)
    add(served, tuned=1.6)
    add(served, tuned=1.5)
    stays = {winner, "3", "5"}  # both champions, and the newest, which is challenger
    removed = [candidate.version.version for candidate in prune(served.registry, 1).remove]
    assert removed == sorted({"1", "2", "4"} - stays)
    assert {v.version for v in list_versions(served.registry)} == stays
    event = whole_log(served.registry)[-1]
    assert (event.kind, event.version) == ("pruned", "4")
