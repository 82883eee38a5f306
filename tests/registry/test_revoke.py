"""The mark of a version that learned from what was taken down: in its tag and its card."""

import json
from collections import Counter

from minigpt.registry.lineage.trace import Holding
from minigpt.registry.promotion.audit_log import AuditLog
from minigpt.registry.refs import find_version
from minigpt.registry.takedown.plan import plan
from minigpt.registry.takedown.revoke import revoke, revoke_inherited, with_notice
from minigpt.registry.versions import TAKEN_DOWN, list_versions
from minigpt.tracking.client import Client
from tests.registry.letters import BOUNDS, NAME
from tests.registry.logs import whole_log

QUESTIONS = ("search_", "get_registered_model", "get_model_version", "get_run")


def test_a_mark_names_the_file_that_was_asked_for(changed):
    registry, version = changed.registry, find_version(changed.registry, "1")
    holdings = [Holding(version, "train", "letters/a", d * 64, f * 64) for d, f in ("ab", "cd")]
    revoke(registry, [(version, holdings)], "asked", files={"b" * 64})
    noted = json.loads(find_version(changed.registry, "1").taken_down)
    assert (noted["documents"], noted["files"]) == (["a" * 64, "c" * 64], ["b" * 64])


def test_a_second_reason_is_kept_though_the_first_has_its_words(changed):
    registry, version = changed.registry, find_version(changed.registry, "1")
    for digest, reason in (("a" * 64, "they asked politely"), ("b" * 64, "asked")):
        revoke(registry, [(version, [Holding(version, "train", "letters/one", digest)])], reason)
    noted = json.loads(find_version(changed.registry, "1").taken_down)
    assert noted["reason"] == "they asked politely; asked"


def test_a_second_notice_takes_the_place_of_the_first():
    card = "---\nlicense: other\n---\n# Title\n"
    once = with_notice(card, "> one")
    assert once.startswith("---\nlicense: other\n---\n")
    assert with_notice(once, "> two") == once.replace("> one", "> two")


def asked_by(registry, monkeypatch, act):
    """How often which question was put to the store while `act` ran."""
    questions = Counter()
    ask = Client.__getattr__

    def counted(self, name):
        if name.startswith(QUESTIONS):
            questions[name] += 1
        return ask(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Client, "__getattr__", counted)
        act()
    return questions


def test_many_marks_ask_the_store_no_more_than_one(changed, add_version, monkeypatch):
    registry = changed.registry
    for n in range(4):
        add_version(1.7 - n / 100)
    trained = [
        (version, [Holding(version, "train", "letters/a", version.version * 64)])
        for version in list_versions(registry)
    ]
    AuditLog(registry, NAME).append("refused", version=None)  # the first event makes the log
    one = asked_by(registry, monkeypatch, lambda: revoke(registry, trained[:1], "she asked"))
    four = asked_by(registry, monkeypatch, lambda: revoke(registry, trained[1:], "she asked"))
    assert (one.pop("get_run"), four.pop("get_run")) == (1, 4)  # the place of each card
    assert four == one
    assert one["search_model_versions"] == 1
    events = whole_log(registry)
    assert [(e.kind, e.version) for e in events[1:]] == [
        ("taken down", str(n)) for n in range(1, 6)
    ]
    assert all(v.taken_down for v in list_versions(registry))
    # Whoever registers next looks through every name for marks.
    registry.store.client.delete_model_version_tag(NAME, "5", TAKEN_DOWN)
    inherit = asked_by(registry, monkeypatch, lambda: revoke_inherited(registry, "5"))
    assert inherit["search_model_versions"] == inherit["search_registered_models"] == 1


def test_a_plan_asks_for_all_names_at_once_and_for_each_place_once(
    changed, add_version, monkeypatch
):
    registry = changed.registry
    for n in range(3):
        add_version(1.5, name=f"other-{n}")
    asked = asked_by(registry, monkeypatch, lambda: plan(registry, "a" * 64, BOUNDS))
    assert asked["search_model_versions"] == asked["search_registered_models"] == 1
    assert asked["get_run"] == 4
