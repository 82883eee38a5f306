"""Small losses in a row do not add up: the bound is the best that a champion reached."""

import json
from types import SimpleNamespace

import pytest

from minigpt.errors import GateRefusedError, RegistryError
from minigpt.registry.config import GateConfig
from minigpt.registry.promotion import evaluation_set
from minigpt.registry.promotion.audit_log import AuditLog
from minigpt.registry.promotion.evaluation_set import passages_of
from minigpt.registry.promotion.gate import decide
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.refs import find_version
from tests.registry.checkout import evaluation, passages
from tests.registry.promotions import NAME, add_files, champion

GATE = GateConfig(min_passages=20, max_worse=0.05)


@pytest.fixture
def add(changed, tmp_path):
    """A function: register a version with these figures."""

    def add(**figures):
        changed.build(**figures)
        return add_files(changed, changed.root, tmp_path / "kept")

    return add


def plays(checkout, version):
    """What the gate says about the pretraining source."""
    conditions = decide(
        checkout.registry, version, find_version(checkout.registry, "champion"), GATE
    )
    return next(c for c in conditions if c.about == "plays" and "95 %" in c.found)


def chain(checkout, add, figure, values):
    """How many of versions with these values of a figure were promoted, one after the other."""
    promote(checkout.registry, add(**{figure: values[0]}).version, GATE)
    for n, value in enumerate(values[1:], 1):
        try:
            promote(checkout.registry, add(**{figure: value}).version, GATE)
        except GateRefusedError as refusal:
            return n, str(refusal)
    return len(values), ""


def test_many_small_losses_end_at_the_bound(changed, add):
    promoted, told = chain(changed, add, "plays", [2.2 + 0.02 * n for n in range(20)])
    assert promoted == 3  # 0.00, 0.02, 0.04 above the best
    assert "2.26 against 2.24 bits per byte: worse by 0.02" in told
    assert "the best champion, version 2, had 2.20: worse by 0.06; allowed: 0.05" in told


def test_so_do_those_on_what_the_version_is_for(changed, add):
    promoted, told = chain(changed, add, "tuned", [1.7 + 0.04 * n for n in range(5)])
    assert promoted == 2
    assert "had 1.70: worse by 0.08; allowed: 0.05" in told


def test_whoever_is_better_than_champion_is_not_held_against_an_older_one(changed, add):
    promote(changed.registry, add(plays=2.2).version, GATE)
    worse = add(plays=2.6)
    promote(changed.registry, worse.version, GATE, force=True, reason="another task")
    assert promote(changed.registry, add(plays=2.5).version, GATE).moved
    assert not plays(changed, add(plays=2.53)).holds


def test_a_champion_that_was_taken_back_sets_no_bound(changed, add):
    promote(changed.registry, add(plays=2.2).version, GATE)
    promote(changed.registry, add(plays=2.0).version, GATE)
    rollback(changed.registry, reason="it answers in verse")
    assert champion(changed) == "2"
    assert plays(changed, add(plays=2.22)).holds


def test_one_that_was_taken_down_sets_none_either_and_the_mark_is_the_logs(changed, add):
    registry = changed.registry
    first, second, third = add(plays=2.2), add(plays=2.24), add(plays=2.26)
    promote(registry, first.version, GATE)
    promote(registry, second.version, GATE)
    assert not plays(changed, third).holds
    registry.store.client.set_model_version_tag(NAME, first.version, "minigpt.taken_down", "{}")
    assert not plays(changed, third).holds  # whoever can set a tag does not move the bound
    AuditLog(registry, NAME).append("taken down", version=first, reason="she asked")
    assert plays(changed, third).holds


def test_a_champion_whose_files_are_gone_is_named(changed, add):
    registry = changed.registry
    first, second = add(plays=2.2), add(plays=2.24)
    promote(registry, first.version, GATE)
    promote(registry, second.version, GATE)
    registry.store.client.delete_model_version(NAME, first.version)
    conditions = decide(registry, add(plays=2.28), second, GATE)
    assert all(c.holds for c in conditions), json.dumps([c.found for c in conditions])
    assert any(f"version {first.version} was champion too; its figures are gone" in c.found
               for c in conditions)  # fmt: skip


def test_settings_that_cannot_be_read_are_not_taken_for_the_defaults(monkeypatch):
    monkeypatch.setattr(evaluation_set, "read_artifact", lambda *_: b"quantize: [")
    with pytest.raises(RegistryError, match=r"m 1: its params\.yaml cannot be used"):
        evaluation_set.params_of(None, SimpleNamespace(name="m", version="1"))


def test_an_evaluation_set_that_hides_a_difference_does_not_open_the_way_for_worse(
    changed, add, monkeypatch
):
    promote(changed.registry, "1", GATE)

    def measured_by(window, **figures):
        monkeypatch.setattr("tests.registry.checkout.WINDOW", window)
        return add(**figures)

    flattered = measured_by(2, tuned=1.8)
    needed = {"1": 1.8, flattered.version: 1.8}
    monkeypatch.setattr(
        "minigpt.registry.promotion.scores.run_on",
        lambda registry, version, package, documents, config: passages_of(
            row
            for row in passages(evaluation(tuned=needed[version.version]))
            if row["measure"] == package
        ),
    )
    promote(changed.registry, flattered.version, GATE)
    worse = measured_by(2, tuned=1.7)
    needed[worse.version] = 2.1
    with pytest.raises(GateRefusedError, match=r"set of version 1: 2\.10 against 1\.80 bits"):
        promote(changed.registry, worse.version, GATE)
    better = measured_by(2, tuned=1.6)
    needed[better.version] = 1.6
    promote(changed.registry, better.version, GATE)
