"""Promotion and rollback. What the gate itself asks: test_gate.py."""

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
import time
from dataclasses import replace

import pytest

from minigpt.errors import GateRefusedError, ParamsError, RegistryError
from minigpt.registry import mutex
from minigpt.registry.config import GateConfig
from minigpt.registry.promotion import audit_log as log
from minigpt.registry.promotion import promote as promotions
from minigpt.registry.promotion.gate import Condition
from minigpt.registry.promotion.history import log_of, rolled_back
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.refs import find_version, resolve
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.versions import TAKEN_DOWN, list_versions
from minigpt.tracking import owner
from minigpt.tracking import store as stores
from tests.registry.logs import whole_log

NAME = "minigpt-test"
GATE = GateConfig()
LONG = "She wrote “no”, twice.\n" * 1000


@pytest.fixture(autouse=True)
def _gate(monkeypatch):
    """A gate that wants a lower figure than the champion's, and below 2."""

    def decide(registry, challenger, champion, gate):
        limit = champion.bits_per_byte if champion else 2.0
        found = f"{challenger.bits_per_byte} against {limit}"
        return (Condition("speeches", found, challenger.bits_per_byte < limit),)

    monkeypatch.setattr(promotions, "decide", decide)


def champion(checkout):
    return find_version(checkout.registry, "champion").version


def history(checkout):
    """(kind, version, champion before) of every event, from a log whose chain holds."""
    events = whole_log(checkout.registry)
    return [(event.kind, event.version, event.before) for event in events]


def take_down(checkout, number):
    about = '{"documents": ["5f1c"], "reason": "its author asked", "at": "2026-11-24T10:00:00"}'
    client = checkout.registry.store.client
    client.set_model_version_tag(NAME, number, TAKEN_DOWN, about)


def test_the_first_good_version_becomes_champion_once(changed):
    done = promote(changed.registry, "challenger", GATE)
    assert (done.moved, done.before, done.forced) == (True, None, False)
    assert done.version.aliases == ("challenger", "champion")
    assert not promote(changed.registry, "1", GATE).moved
    assert history(changed) == [("promoted", "1", None)]


def test_a_refused_version_changes_nothing_but_the_log(changed, add_version):
    add_version(2.5)
    with pytest.raises(GateRefusedError) as refusal:
        promote(changed.registry, "2", GATE)
    assert "2.5 against 2.0" in str(refusal.value)
    assert refusal.value.exit_code == 3
    assert all("champion" not in v.aliases for v in list_versions(changed.registry))
    [event] = whole_log(changed.registry)
    assert event.conditions == (Condition("speeches", "2.5 against 2.0", False),)
    with pytest.raises(GateRefusedError):
        promote(changed.registry, "2", GATE)
    assert history(changed) == [("refused", "2", None)]  # the same again is not news


def test_force_needs_a_reason_and_logs_it(changed, add_version):
    promote(changed.registry, "1", GATE)
    add_version(1.9)
    for reason in (None, " "):
        with pytest.raises(ParamsError, match="--reason"):
            promote(changed.registry, "2", GATE, force=True, reason=reason)
    assert champion(changed) == "1"
    done = promote(changed.registry, "2", GATE, force=True, reason="a newer corpus")
    assert (done.before, done.forced, champion(changed)) == ("1", True, "2")
    event = whole_log(changed.registry)[-1]
    assert (event.before, event.forced, event.reason) == ("1", True, "a newer corpus")


def test_a_promotion_that_was_overtaken_says_so(changed, add_version, monkeypatch):
    add_version(1.7)
    decide = promotions.decide

    def overtaken(*arguments):
        monkeypatch.setattr(promotions, "decide", decide)
        promote(changed.registry, "1", GATE)
        return decide(*arguments)

    monkeypatch.setattr(promotions, "decide", overtaken)
    with pytest.raises(RegistryError, match="version 1 was made champion meanwhile"):
        promote(changed.registry, "2", GATE)
    assert champion(changed) == "1"
    assert history(changed) == [("promoted", "1", None)]


def test_a_version_taken_down_while_it_was_judged_is_not_promoted(changed, monkeypatch):
    decide = promotions.decide

    def taken(*arguments):
        take_down(changed, "1")
        return decide(*arguments)

    monkeypatch.setattr(promotions, "decide", taken)
    with pytest.raises(RegistryError, match="version 1 was taken down meanwhile"):
        promote(changed.registry, "1", GATE)
    assert history(changed) == []


def test_rollback_restores_the_champion_before_and_then_the_one_before_that(changed, add_version):
    for number in ("1", add_version(1.7), add_version(1.6)):
        promote(changed.registry, number, GATE)
    done = rollback(changed.registry, reason="it answers in verse")
    assert (done.version.version, done.before, champion(changed)) == ("2", "3", "2")
    assert rollback(changed.registry).version.version == champion(changed) == "1"
    with pytest.raises(RegistryError, match=r"no version of .* was champion before version 1"):
        rollback(changed.registry)
    assert rollback(changed.registry, to="3").version.version == champion(changed) == "3"
    assert not rollback(changed.registry, to="3").moved
    assert history(changed)[3:] == [
        ("rolled back", "2", "3"),
        ("rolled back", "1", "2"),
        ("rolled back", "3", "1"),
    ]


def test_what_was_rolled_back_is_not_promoted_again_by_the_next_release(changed, add_version):
    promote(changed.registry, "1", GATE)
    add_version(1.7)
    promote(changed.registry, "2", GATE)
    rollback(changed.registry, reason="it answers in verse")
    with pytest.raises(GateRefusedError, match=r"rolled back .* it answers in verse"):
        promote(changed.registry, "2", GATE)
    second, events = find_version(changed.registry, "2"), log_of(changed.registry).events
    assert rolled_back(events, second).reason == "it answers in verse"
    assert rolled_back(events, replace(second, digest="another")) is None
    assert promote(changed.registry, "2", GATE, force=True, reason="it was the prompt").moved
    add_version(1.6)
    promote(changed.registry, "3", GATE)
    rollback(changed.registry)
    assert champion(changed) == "2"


def test_a_version_that_was_taken_down_comes_back_by_force_with_a_reason_only(changed, add_version):
    for number in ("1", add_version(1.7)):
        promote(changed.registry, number, GATE)
    take_down(changed, "1")
    with pytest.raises(GateRefusedError, match=r"not restored(.|\n)* its author asked"):
        rollback(changed.registry)
    with pytest.raises(GateRefusedError, match="its author asked"):
        promote(changed.registry, "1", GATE)
    with pytest.raises(ParamsError, match="--reason"):
        rollback(changed.registry, force=True)
    assert champion(changed) == "2"
    assert rollback(changed.registry, force=True, reason="they agreed").forced
    assert champion(changed) == "1"
    assert [kind for kind, _, _ in history(changed)][2:] == ["refused", "refused", "rolled back"]


def test_a_rollback_goes_to_a_champion_only(changed, add_version):
    promote(changed.registry, "1", GATE)
    add_version(1.7)
    with pytest.raises(GateRefusedError, match="never was champion"):
        rollback(changed.registry, to="2")
    with pytest.raises(RegistryError, match="no version 17"):
        rollback(changed.registry, to="17")
    assert champion(changed) == "1"


def test_a_log_with_a_gap_says_how_to_roll_back_all_the_same(changed, add_version):
    for number in ("1", add_version(1.7)):
        promote(changed.registry, number, GATE)
    registry = changed.registry
    registry.store.client.delete_run(whole_log(registry)[0].run_id)
    with pytest.raises(RegistryError, match='rollback --to N --force --reason "…"'):
        rollback(changed.registry)
    with pytest.raises(GateRefusedError, match="rollback --to 1 --force --reason"):
        rollback(changed.registry, to="1")
    assert rollback(changed.registry, to="1", force=True, reason="it is urgent").moved
    assert champion(changed) == "1"


def test_what_is_said_to_type_about_another_model_names_it(changed, add_version):
    for bits in (2.5, 1.9, 1.8):
        add_version(bits, name="other")
    with pytest.raises(GateRefusedError, match="registry promote models:/other/1 --force"):
        promote(changed.registry, "other@1", GATE)
    with pytest.raises(RegistryError, match=r"Run: minigpt registry promote models:/other/2$"):
        rollback(changed.registry, to="models:/other/2")
    promote(changed.registry, "models:/other/2", GATE)
    with pytest.raises(GateRefusedError, match="rollback --to models:/other/3 --force"):
        rollback(changed.registry, to="models:/other/3")


def test_a_version_whose_files_are_gone_is_neither_promoted_nor_restored(changed, add_version):
    promote(changed.registry, "1", GATE)
    add_version(1.7)
    promote(changed.registry, "2", GATE)
    shutil.rmtree(resolve(changed.registry, "1"))
    with pytest.raises(RegistryError, match="no longer at"):
        rollback(changed.registry, force=True, reason="now")
    with pytest.raises(RegistryError, match="no longer at"):
        promote(changed.registry, "1", GATE, force=True, reason="now")
    assert champion(changed) == "2"


def test_without_a_champion_there_is_nothing_to_roll_back(changed):
    with pytest.raises(RegistryError, match="promote 1"):
        rollback(changed.registry)
    with pytest.raises(RegistryError, match="nothing to roll back"):
        rollback(changed.registry, to="1")


def killed_once_it_is_logged(root, act):
    append = log.append

    def append_and_die(*arguments, **more):
        append(*arguments, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    log.append = append_and_die
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


def test_a_champion_from_before_the_log_began_can_be_restored(changed, add_version):
    client = changed.registry.store.client
    client.set_registered_model_alias(NAME, "champion", "1")
    assert whole_log(changed.registry) == []
    assert client.get_experiment_by_name("minigpt-log") is None  # reading makes nothing
    add_version(1.7)
    promote(changed.registry, "2", GATE)
    assert history(changed) == [("found", "1", None), ("promoted", "2", "1")]
    assert rollback(changed.registry).version.version == "1"


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
    found = [answers.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    return found


def check_race(checkout):
    found = race(checkout)
    [winner] = [answer for answer in found if answer in ("1", "2")]
    [told] = [answer for answer in found if answer != winner]
    assert "meanwhile" in told or "refused" in told
    promoted = [version for kind, version, _ in history(checkout) if kind == "promoted"]
    assert promoted == [winner] == [champion(checkout)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes start from this one's imports")
def test_of_two_promotions_at_once_exactly_one_wins(changed, add_version):
    add_version(1.8)  # as good as version 1: neither may replace the other
    check_race(changed)


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
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        copy = type(checkout)(tmp_path / "client")
        shutil.copytree(checkout.root, copy.root)
        register(copy.registry)
        yield copy
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # its uvicorn outlives it otherwise
        server.wait()


@pytest.mark.prove
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes start from this one's imports")
def test_on_a_server_one_of_two_promotions_wins_and_the_log_is_whole(served, add_version):
    add_version(1.8, served.root)
    check_race(served)
    winner = champion(served)
    add_version(1.7, served.root)
    promote(served.registry, "3", GATE)
    assert rollback(served.registry, reason=LONG).version.version == champion(served) == winner
    event = whole_log(served.registry)[-1]
    assert (event.kind, event.version, event.reason) == ("rolled back", winner, LONG)


def test_a_lock_whose_holder_died_is_broken_and_one_that_lives_is_named(changed, monkeypatch):
    client = changed.registry.store.client
    lock = f"lock.{NAME}.champion"
    dead = owner.this_process() | {"pid": str(2**22 + 1), "started": "1.0"}
    client.create_registered_model(lock, tags=dead)
    assert promote(changed.registry, "1", GATE).moved
    client.create_registered_model(lock, tags={"host": "another", "pid": "7", "since": "noon"})
    monkeypatch.setattr(mutex, "WAIT_SECONDS", 0.1)
    with pytest.raises(RegistryError, match=r"process 7 on another since noon.*lock\."):
        register(changed.registry)
