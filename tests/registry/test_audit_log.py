"""The log: what it keeps, and how a change to it is found."""

import contextlib
import shutil
import sqlite3
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import RegistryError
from minigpt.registry.mutex import only_changer
from minigpt.registry.promotion import audit_log as log
from minigpt.registry.promotion.audit_event import (
    digest_of,
    event_from,
    fields_of,
    joined,
    pieces,
)
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.promotion.history import champions, log_of
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.tracking import store as stores
from minigpt.tracking.relocate import relocate
from minigpt.tracking.store import local_path
from tests.registry.logs import forget, whole_log

NAME = "minigpt-test"
REFUSED = Condition("a", "2", False, "raise b.c")
LONG = "She wrote “no”, twice.\n" * 1000  # four parameters


@pytest.fixture
def registry(changed):
    """A store whose log holds three events."""
    registry, version = changed.registry, find_version(changed.registry, "1")
    with only_changer(registry, NAME):
        audit = log.AuditLog(registry, NAME)
        audit.append("refused", version=version, conditions=[REFUSED])
        audit.append("promoted", version=version, forced=True, reason=LONG)
        audit.append("taken down", version=version, before="1", reason="asked")
    return registry


def change(registry, statement, *values):
    """What MLflow does not do, and whoever has the file can."""
    with (
        contextlib.closing(sqlite3.connect(stores.database_of(registry.store.uri))) as connection,
        connection,
    ):
        assert connection.execute(statement, values).rowcount == 1


def problems(registry):
    text = "; ".join(log.read_all(registry, NAME)[1])
    assert text
    assert "\n" not in text
    return text


def test_events_are_read_back_whole_and_in_order(registry):
    first, second, third = whole_log(registry)
    assert (first.kind, first.conditions) == ("refused", (REFUSED,))
    assert (second.kind, second.forced, second.reason) == ("promoted", True, LONG)
    assert (third.number, third.before, third.previous) == (3, "1", second.digest)
    assert '[["a", "2", false, "raise b.c"]]' in fields_of(first).values()


def test_an_event_without_remedies_is_written_as_it_was_before_there_were_any(registry):
    plain = replace(whole_log(registry)[0], conditions=(Condition("a", "2", False),))
    fields = fields_of(plain)
    assert fields["conditions"] == '[["a", "2", false]]'
    assert event_from(fields | {"digest": "-"}, "").conditions == plain.conditions
    assert whole_log(registry, "another") == []


def test_a_changed_event_is_named(registry):
    event = whole_log(registry)[1]
    change(
        registry,
        "update params set value = 'mallory' where run_uuid = ? and key = 'by'",
        event.run_id,
    )
    assert f"event 2 was changed (run {event.run_id})" in problems(registry)


def test_an_event_rewritten_with_its_digest_breaks_the_chain_behind_it(registry):
    event = whole_log(registry)[1]
    params = registry.store.client.get_run(event.run_id).data.params | {"by": "mallory"}
    for key, value in (("by", "mallory"), ("digest", digest_of(joined(params)))):
        change(
            registry,
            "update params set value = ? where run_uuid = ? and key = ?",
            value,
            event.run_id,
            key,
        )
    assert "event 3 does not follow event 2" in problems(registry)


def test_an_addition_to_an_event_is_a_change(registry):
    event = whole_log(registry)[2]
    with pytest.raises(Exception, match="not allowed"):
        registry.store.client.log_param(event.run_id, "reason", "another")
    registry.store.client.log_param(event.run_id, "reason.2", " and agreed")
    assert "event 3 was changed" in problems(registry)


def test_an_event_deleted_in_mlflow_is_named_with_the_way_to_restore_it(registry):
    event = whole_log(registry)[0]
    registry.store.client.delete_run(event.run_id)
    assert f"event 1 was deleted (mlflow runs restore --run-id {event.run_id})" in problems(
        registry
    )
    registry.store.client.restore_run(event.run_id)
    assert len(whole_log(registry)) == 3


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ([1], "event 1 is missing"),
        ([1, 2], "events 1 to 2 are missing"),
        ([3], "the newest event is missing (it followed event 2)"),
        ([1, 2, 3], "it is gone"),
    ],
)
def test_a_missing_event_is_named(registry, gone, said):
    events = whole_log(registry)
    for number in gone:
        forget(registry, events[number - 1])
    assert said in problems(registry)


def test_a_broken_log_goes_on_and_stays_broken(registry, changed):
    forget(registry, whole_log(registry)[1])
    with only_changer(registry, NAME):
        version = find_version(changed.registry, "1")
        assert log.AuditLog(registry, NAME).append("promoted", version=version).number == 4
    assert "event 2 is missing" in problems(registry)


def test_an_append_that_was_cut_off_is_no_event(registry, changed):
    version = find_version(changed.registry, "1")
    [experiment] = [registry.store.client.get_experiment_by_name(log.LOG)]
    registry.store.client.create_run(experiment.experiment_id)  # killed before its parameters
    assert len(whole_log(registry)) == 3
    with only_changer(registry, NAME):
        log.AuditLog(registry, NAME).append("promoted", version=version)
        event = whole_log(registry)[-1]
        # Killed before the registered model named the newest:
        registry.store.client.set_registered_model_tag(NAME, log.HEAD, event.previous)
        assert len(whole_log(registry)) == 4
        log.AuditLog(registry, NAME).append("promoted", version=version)
    assert len(whole_log(registry)) == 5


def test_the_log_moves_with_its_checkout(registry, changed, tmp_path):
    before = whole_log(registry)
    moved = tmp_path / "moved"
    shutil.move(changed.root, moved)
    with pytest.raises(RegistryError, match="minigpt registry relocate"):
        log_of(Registry(moved, NAME))
    relocate(moved)
    client = Registry(moved, NAME).store.client
    assert list(log_of(Registry(moved, NAME)).events) == before
    places = [e.artifact_location for e in client.search_experiments() if e.name != "Default"]
    places += [client.get_run(event.run_id).info.artifact_uri for event in before]
    assert len(places) == 5
    assert all(local_path(place).is_relative_to(moved / "mlruns") for place in places)


def test_a_log_whose_experiment_was_deleted_says_how_to_restore_it(registry, changed):
    experiment = registry.store.client.get_experiment_by_name(log.LOG)
    registry.store.client.delete_experiment(experiment.experiment_id)
    version = find_version(changed.registry, "1")
    with (
        pytest.raises(RegistryError, match="mlflow experiments restore"),
        only_changer(registry, NAME),
    ):
        log.AuditLog(registry, NAME).append("promoted", version=version)


def test_a_folder_without_a_store_has_an_empty_log(checkout):
    assert log_of(checkout.registry).events == ()
    assert champions([]) == []


@given(st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), st.text(min_size=1)))
def test_pieces_are_joined_to_what_they_were(fields):
    long = {key: text * 3000 for key, text in fields.items()}
    taken = pieces(long)
    assert joined(taken) == long
    assert all(len(text) <= 5000 for text in taken.values())
