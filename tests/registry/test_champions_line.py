"""Which champions led to the present one, whatever was done to aliases, tags and versions."""

import numpy as np
import pytest

from minigpt.data.near_duplicates import runs_of
from minigpt.errors import GateRefusedError, RegistryError
from minigpt.registry.promotion.evaluation_set import passages_of
from minigpt.registry.promotion.history import log_of
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.versions import DIGEST
from tests.registry.checkout import evaluation, passages
from tests.registry.promotions import NAME, champion
from tests.registry.test_hostile import GATE, document, refusal, speech


def point(checkout, version):
    """As by hand, in MLflow."""
    checkout.registry.store.client.set_registered_model_alias(NAME, "champion", version)


def test_a_champion_that_is_registered_as_something_else_lets_nothing_pass(changed, add):
    promote(changed.registry, "1", GATE)
    worse, between = add(tuned=2.3), add(tuned=2.1)
    changed.registry.store.client.set_model_version_tag(NAME, "1", DIGEST, "0" * 64)
    point(changed, worse.version)
    assert "by the log, champion is version 1 with manifest" in refusal(changed, between)


def test_where_the_champion_was_deleted_the_one_before_it_is_the_measure(changed, add):
    promote(changed.registry, "1", GATE)
    second = add(tuned=1.7)
    promote(changed.registry, second.version, GATE)
    worse, between = add(tuned=2.3), add(tuned=2.1)
    changed.registry.store.client.delete_model_version(NAME, second.version)
    point(changed, worse.version)
    said = refusal(changed, between)
    assert "does not replace champion (version 1)" in said
    assert "2.10 against 1.80" in said
    assert "held against version 1, the champion that the log names" in said


def test_what_was_moved_there_by_hand_is_no_champion_to_go_back_to(changed, add):
    promote(changed.registry, "1", GATE)
    bad = add(tuned=2.5)
    point(changed, bad.version)
    better = add(tuned=1.6)
    promote(changed.registry, better.version, GATE)  # which notes where champion was found
    with pytest.raises(GateRefusedError, match="it never was champion"):
        rollback(changed.registry, bad.version)
    assert rollback(changed.registry).version.version == "1"
    assert log_of(changed.registry).stray is None


def test_nor_does_it_undo_a_rollback(changed, add):
    promote(changed.registry, "1", GATE)
    rude = add(tuned=1.6)
    promote(changed.registry, rude.version, GATE)
    rollback(changed.registry, reason="it was rude")
    point(changed, rude.version)
    promote(changed.registry, add(tuned=1.7).version, GATE)
    assert "it was rude" in refusal(changed, rude)


@pytest.fixture
def measured(changed, add, monkeypatch):
    """A function: register a version that needs `real` bits per byte wherever it is run."""
    needed = {"1": 1.8}

    def run_on(registry, version, package, documents, config):
        rows = passages(evaluation(tuned=needed[version.version]))
        return passages_of(row for row in rows if row["measure"] == package)

    monkeypatch.setattr("minigpt.registry.promotion.scores.run_on", run_on)

    def make(window, real, documents=None, **figures):
        monkeypatch.setattr("tests.registry.checkout.WINDOW", window)
        version = add(documents, **figures)
        needed[version.version] = real
        return version

    return make


def test_what_was_forced_and_taken_back_begins_no_line(changed, measured):
    promote(changed.registry, "1", GATE)
    second = measured(2, 1.8, tuned=1.8)
    promote(changed.registry, second.version, GATE)
    oops = measured(4, 3.0, tuned=3.0)
    promote(changed.registry, oops.version, GATE, force=True, reason="oops")
    rollback(changed.registry)
    worse = measured(2, 2.1, tuned=1.7)
    assert "on the evaluation set of version 1: 2.10 against 1.80" in refusal(changed, worse)


def test_what_was_learned_of_the_first_set_is_said_and_the_rest_still_counts(changed, measured):
    text = speech("first")
    others = [document("test", speech("play"), "plays"), document("train", speech("own"))]
    first = [document("test", text, name="a"), document("test", speech("b"), name="b"), *others]
    promote(changed.registry, measured(None, 1.8, first, tuned=1.8).version, GATE)
    other = [document("test", speech("second"), name="c"), *others]
    promote(changed.registry, measured(2, 1.8, other, tuned=1.8).version, GATE)
    again = [*other, document("train", text, name="moved")]
    done = promote(changed.registry, measured(2, 1.7, again, tuned=1.7).version, GATE)
    said = [c.found for c in done.conditions if "left out" in c.found]
    assert said == ["it was trained on 1 of the 3 documents of version 2's set, which are left out"]


def test_passages_without_a_source_are_one_message(changed, add, monkeypatch):
    promote(changed.registry, "1", GATE)
    without = [row for row in passages(evaluation(tuned=1.7)) if row["source"] != "plays"]
    monkeypatch.setattr("tests.registry.checkout.passages", lambda _: without)
    with pytest.raises(RegistryError, match="its figure of plays is not that of the passages"):
        promote(changed.registry, add(tuned=1.7).version, GATE)
    assert champion(changed) == "1"


@pytest.mark.parametrize("mark", "\xad\u034f\ufe0f\u3164\u180b\u17b4\u200b\x08\U000e0061\ufff9")
def test_what_nobody_sees_hides_no_text(mark):
    text = speech("hidden")
    assert np.array_equal(runs_of(text), runs_of(text.replace("a", f"a{mark}")))
