"""The lease on a name: renewed, waited for, taken over from the dead, and held by one at a time."""

import contextlib
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from pydantic import ValidationError

from minigpt.errors import RegistryError
from minigpt.registry import mutex
from minigpt.registry.config import ReleaseConfig
from minigpt.registry.mutex import LEASE_SECONDS, RENEWED, Lease, only_changer
from minigpt.registry.promotion.promote import promote
from minigpt.registry.registry import Registry
from minigpt.registry.versions import list_everything
from minigpt.tracking import owner
from tests.registry.promotions import GATE, NAME, champion

ELSEWHERE = {"host": "another", "pid": "7", "since": "noon", RENEWED: "3"}
DEAD_HERE = owner.this_process() | {"pid": str(2**22 + 1), "started": "1.0", RENEWED: "3"}
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="the process starts from our imports")


def entries(registry):
    """Of the lease, as the store has them."""
    return mutex._entries(registry, NAME)


@pytest.fixture
def enter(changed):
    """A function: enter another process's lease, as it would itself. Returns its name."""

    def enter(tags, token="0"):
        entry = f"lock.{NAME}.champion.{token}"
        changed.registry.store.client.create_registered_model(entry, tags=tags)
        return entry

    return enter


class Time:
    """A clock that goes on by a second when someone pauses; `then` is done at each."""

    def __init__(self, monkeypatch, then=lambda now: None):
        self.now, self.then = 0.0, then
        monkeypatch.setattr(mutex, "clock", lambda: self.now)
        monkeypatch.setattr(mutex, "pause", self.pause)

    def pause(self, seconds):
        self.now += 1
        self.then(self.now)


def test_a_holder_that_died_on_another_machine_is_waited_for_one_lease(changed, enter, monkeypatch):
    time, registry = Time(monkeypatch), changed.registry
    dead = enter(ELSEWHERE)
    with only_changer(registry, NAME) as lease:
        assert time.now == LEASE_SECONDS
        assert list(entries(registry)) == [lease.entry] != [dead]
    assert entries(registry) == {}


def test_one_that_renews_is_waited_for_as_long_as_it_does_and_named(
    changed, enter, monkeypatch, capsys
):
    registry, client = changed.registry, changed.registry.store.client
    entry = enter(ELSEWHERE)

    def renew(now):
        if now < 5 * LEASE_SECONDS:
            client.set_registered_model_tag(entry, RENEWED, str(now))
        else:
            client.delete_registered_model(entry)

    time = Time(monkeypatch, renew)
    # Every tenth second is enough to see it; the store is asked at each.
    monkeypatch.setattr(mutex, "pause", lambda seconds: [time.pause(1) for _ in range(10)])
    with only_changer(registry, NAME):
        assert time.now == 5 * LEASE_SECONDS
    said = capsys.readouterr().err
    assert f"waiting: {NAME} is being changed by process 7 on another, since noon\n" in said


def test_whoever_holds_it_renews_it(changed, monkeypatch):
    monkeypatch.setattr(mutex, "RENEW_SECONDS", 0.01)
    registry, renewed = changed.registry, threading.Event()
    client = registry.store.client.mlflow
    set_tag = client.set_registered_model_tag

    def tell(*arguments):
        set_tag(*arguments)
        renewed.set()

    monkeypatch.setattr(client, "set_registered_model_tag", tell)
    with only_changer(registry, NAME) as lease:
        assert renewed.wait(60)
        assert int(entries(registry)[lease.entry][RENEWED]) >= 1


def test_a_renewal_that_fails_ends_nothing(changed, monkeypatch):
    monkeypatch.setattr(mutex, "RENEW_SECONDS", 0.01)
    registry, failed = changed.registry, threading.Event()

    def fail(*arguments):
        failed.set()
        raise OSError("the network is away")

    monkeypatch.setattr(registry.store.client.mlflow, "set_registered_model_tag", fail)
    with only_changer(registry, NAME) as lease:
        assert failed.wait(60)
        lease.refuse_lost()
    assert entries(registry) == {}


def hold_until_killed(root, holds):
    with only_changer(Registry(root, NAME), NAME):
        holds.set()
        signal.pause()


@forks
def test_a_holder_that_was_killed_here_is_not_waited_for(changed, monkeypatch):
    context = multiprocessing.get_context("fork")
    holds = context.Event()
    process = context.Process(target=hold_until_killed, args=(changed.root, holds))
    process.start()
    assert holds.wait(120)
    assert len(entries(changed.registry)) == 1
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    monkeypatch.setattr(mutex, "pause", None)  # nobody waits
    with only_changer(changed.registry, NAME) as lease:
        assert list(entries(changed.registry)) == [lease.entry]


def test_of_two_that_take_over_from_the_dead_one_wins_and_the_other_harms_it_not(changed, enter):
    registry, dead = changed.registry, {enter(ELSEWHERE): "3"}
    first, second = Lease(registry, NAME), Lease(registry, NAME)
    assert first.take(dead)
    assert not second.take(dead)  # it had seen the dead one before the first was there
    assert list(entries(registry)) == [first.entry]
    first.release()
    assert entries(registry) == {}


def test_two_that_enter_at_the_same_moment_both_step_back(changed, enter, monkeypatch):
    registry, dead = changed.registry, {enter(DEAD_HERE): "3"}
    barrier, look, answers = threading.Barrier(2), mutex._entries, []

    def look_together(*arguments):
        barrier.wait(60)
        return look(*arguments)

    monkeypatch.setattr(mutex, "_entries", look_together)
    two = [
        threading.Thread(target=lambda: answers.append(Lease(registry, NAME).take(dead)))
        for _ in range(2)
    ]
    for thread in two:
        thread.start()
    for thread in two:
        thread.join()
    # One may be gone before the other has looked; never do both hold it.
    assert sorted(answers) in ([False, False], [False, True])


def test_one_that_came_back_to_life_is_not_taken_for_dead(changed, enter):
    registry, entry = changed.registry, enter(ELSEWHERE)
    registry.store.client.set_registered_model_tag(entry, RENEWED, "4")
    assert not Lease(registry, NAME).take({entry: "3"})
    assert list(entries(registry)) == [entry]


def test_who_slept_too_long_changes_nothing_and_takes_nothing_away(changed, monkeypatch):
    registry = changed.registry
    with only_changer(registry, NAME) as lease:
        lease.refuse_lost()
        successor = Lease(registry, NAME)
        assert successor.take({lease.entry: "0"})
        with pytest.raises(RegistryError, match="did not renew its lease"):
            lease.refuse_lost()
    assert list(entries(registry)) == [successor.entry]
    successor.release()


@pytest.mark.usefixtures("gate_by_figure")
def test_a_promotion_that_lost_its_lease_moves_nothing(changed, monkeypatch):
    def lose(self):
        raise RegistryError("lost")

    monkeypatch.setattr(Lease, "refuse_lost", lose)
    with pytest.raises(RegistryError, match="lost"):
        promote(changed.registry, "1", GATE)
    with pytest.raises(RegistryError, match="called champion"):
        champion(changed)


def enter_often(root, barrier, answers):
    registry, inside = Registry(root, NAME), root / "inside"
    barrier.wait()
    try:
        for _ in range(3):
            with only_changer(registry, NAME):
                inside.touch(exist_ok=False)
                inside.unlink()
    except (OSError, RegistryError) as error:
        answers.put(repr(error))
    else:
        answers.put("alone each time")


@forks
def test_processes_that_meet_over_a_dead_holder_enter_one_at_a_time(changed, enter):
    enter(DEAD_HERE)
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    two = [
        context.Process(target=enter_often, args=(changed.root, barrier, answers)) for _ in range(2)
    ]
    for process in two:
        process.start()
    assert [answers.get(timeout=240) for _ in two] == ["alone each time"] * 2
    for process in two:
        process.join()
    assert entries(changed.registry) == {}


def test_who_steps_back_comes_again_under_another_name(changed, monkeypatch):
    tries, take = [], Lease.take

    def third_time(self, dead):
        tries.append(self.entry)
        return len(tries) == 3 and take(self, dead)

    monkeypatch.setattr(Lease, "take", third_time)
    monkeypatch.setattr(mutex, "pause", lambda seconds: None)
    with only_changer(changed.registry, NAME):
        assert len(set(tries)) == 3  # else those who watched the first would count it as dead


def test_a_name_that_begins_like_another_has_a_lease_of_its_own(changed):
    registry = changed.registry
    for other in (f"{NAME}.champion", NAME.replace("-", "_")):
        with contextlib.ExitStack() as leases:
            leases.enter_context(only_changer(registry, NAME))
            assert mutex._entries(registry, other) == {}
            leases.enter_context(only_changer(registry, other))
            assert len(entries(registry)) == 1
    assert list(list_everything(registry)) == [NAME]


@pytest.mark.parametrize("name", [f"lock.{NAME}.champion", "lock.x", "Lock.x", "x" * 201])
def test_no_release_may_be_called_as_an_entry_is_or_too_long_for_one(name):
    with pytest.raises(ValidationError):
        ReleaseConfig(name=name)


@pytest.mark.parametrize("name", ["lock", "locks.x", "lock-x", "minigpt.lock.x", "x" * 200])
def test_other_names_are_free(name):
    assert ReleaseConfig(name=name).name == name
    assert len(Lease(Registry(Path(), name), name).entry) <= 256  # as databases have it
