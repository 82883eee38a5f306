"""Promotion. What the gate itself asks: test_gate.py."""

import shutil
from functools import partial

import pytest

from minigpt.errors import GateRefusedError, ParamsError, RegistryError
from minigpt.registry.promotion import promote as promotions
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.promotion.promote import promote, refused_again, rollback
from minigpt.registry.refs import resolve
from minigpt.registry.versions import list_versions
from tests.registry.logs import whole_log
from tests.registry.promotions import GATE, NAME, champion, history, take_down

pytestmark = pytest.mark.usefixtures("gate_by_figure")


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


def test_a_refusal_is_known_until_anything_about_it_changes(changed, add_version):
    add_version(2.5)
    registry = changed.registry

    def known():
        [version] = [v for v in list_versions(registry) if v.version == "2"]
        return refused_again(registry, version, GATE)

    assert known() is None  # nobody has asked yet
    with pytest.raises(GateRefusedError) as refusal:
        promote(registry, "2", GATE)
    assert known() == str(refusal.value)
    registry.store.client.set_registered_model_alias(NAME, "champion", "1")
    assert known() is None  # a promotion notes that champion was moved
    promote(registry, "1", GATE)
    with pytest.raises(GateRefusedError) as refusal:
        promote(registry, "2", GATE)
    assert known() == str(refusal.value)
    events = history(changed)
    take_down(changed, "2")
    assert known() is None  # it is refused for one more reason
    assert history(changed) == events


def test_force_needs_a_reason_and_logs_it(changed, add_version):
    promote(changed.registry, "1", GATE)
    add_version(1.9)
    for reason in (None, " "):
        with pytest.raises(ParamsError, match="--reason"):
            promote(changed.registry, "2", GATE, force=True, reason=reason)
    for move in (partial(promote, gate=GATE), rollback):  # --reason "$WHY", where WHY is not set
        with pytest.raises(ParamsError, match="--reason is empty"):
            move(changed.registry, "2", reason="")
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
