"""Back to an earlier champion."""

from dataclasses import replace

import pytest

from minigpt.errors import GateRefusedError, ParamsError, RegistryError
from minigpt.registry.promotion.history import log_of, rolled_back
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.refs import find_version
from tests.registry.logs import whole_log
from tests.registry.promotions import GATE, NAME, champion, history, take_down

pytestmark = pytest.mark.usefixtures("gate_by_figure")


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


def test_without_a_champion_there_is_nothing_to_roll_back(changed):
    with pytest.raises(RegistryError, match="promote 1"):
        rollback(changed.registry)
    with pytest.raises(RegistryError, match="nothing to roll back"):
        rollback(changed.registry, to="1")


def test_a_champion_from_before_the_log_began_can_be_restored(changed, add_version):
    client = changed.registry.store.client
    client.set_registered_model_alias(NAME, "champion", "1")
    assert whole_log(changed.registry) == []
    assert client.get_experiment_by_name("minigpt-log") is None  # reading makes nothing
    add_version(1.7)
    promote(changed.registry, "2", GATE)
    assert history(changed) == [("found", "1", None), ("promoted", "2", "1")]
    assert rollback(changed.registry).version.version == "1"
