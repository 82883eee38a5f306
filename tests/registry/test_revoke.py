"""The mark of a version that learned from what was taken down: in its tag and its card."""

import json

from minigpt.registry.lineage.trace import Holding
from minigpt.registry.refs import find_version
from minigpt.registry.takedown.revoke import revoke, with_notice


def test_a_mark_names_the_file_that_was_asked_for(changed):
    registry, version = changed.registry, find_version(changed.registry, "1")
    holdings = [Holding(version, "train", "letters/a", d * 64, f * 64) for d, f in ("ab", "cd")]
    revoke(registry, version, holdings, "asked", files={"b" * 64})
    noted = json.loads(find_version(changed.registry, "1").taken_down)
    assert (noted["documents"], noted["files"]) == (["a" * 64, "c" * 64], ["b" * 64])


def test_a_second_reason_is_kept_though_the_first_has_its_words(changed):
    registry, version = changed.registry, find_version(changed.registry, "1")
    for digest, reason in (("a" * 64, "they asked politely"), ("b" * 64, "asked")):
        revoke(registry, version, [Holding(version, "train", "letters/one", digest)], reason)
    noted = json.loads(find_version(changed.registry, "1").taken_down)
    assert noted["reason"] == "they asked politely; asked"


def test_a_second_notice_takes_the_place_of_the_first():
    card = "---\nlicense: other\n---\n# Title\n"
    once = with_notice(card, "> one")
    assert once.startswith("---\nlicense: other\n---\n")
    assert with_notice(once, "> two") == once.replace("> one", "> two")
