import json
import multiprocessing
import os

import pytest

from minigpt.errors import GateRefusedError, RegistryError
from minigpt.registry import mutex
from minigpt.registry import promote as promotions
from minigpt.registry.config import RegistryParams, ReleaseConfig
from minigpt.registry.promote import PROMOTION, promote
from minigpt.registry.sync import sync
from minigpt.registry.versions import find_version, list_versions
from minigpt.tracking.store import open_store

NAME = "minigpt-test"
PARAMS = RegistryParams(release=ReleaseConfig(name=NAME))


def champion(checkout):
    return find_version(checkout.root, "champion", NAME).version


def test_the_first_good_version_becomes_champion_once(changed):
    done = promote(changed.root, "challenger", PARAMS)
    assert (done.moved, done.before, done.forced) == (True, None, False)
    assert done.version.aliases == ("challenger", "champion")
    assert not promote(changed.root, "1", PARAMS).moved


def test_a_bad_version_is_refused_and_nothing_changes(changed):
    changed.build(base=2.6)
    version = sync(changed.root, PARAMS)
    with pytest.raises(GateRefusedError) as refusal:
        promote(changed.root, version.version, PARAMS)
    assert "2.60 against ngram 2.47" in str(refusal.value)
    assert refusal.value.exit_code == 3
    assert all("champion" not in v.aliases for v in list_versions(changed.root, NAME))


def test_a_champion_is_replaced_by_force_only_and_the_reason_is_kept(changed):
    promote(changed.root, "1", PARAMS)
    changed.build(tuned=1.9)
    sync(changed.root, PARAMS)
    with pytest.raises(GateRefusedError, match="does not replace champion"):
        promote(changed.root, "2", PARAMS)
    assert champion(changed) == "1"
    done = promote(changed.root, "2", PARAMS, force=True, reason="a newer corpus")
    assert (done.before, done.forced, champion(changed)) == ("1", True, "2")
    entry = open_store(changed.root).client.get_model_version(NAME, "2")
    event = json.loads(entry.tags[PROMOTION])
    assert (event["before"], event["reason"]) == ("1", "a newer corpus")


def test_a_promotion_that_was_overtaken_says_so(changed, monkeypatch):
    changed.build(tuned=1.7)
    sync(changed.root, PARAMS)
    judge = promotions.judge

    def overtaken(*arguments):
        monkeypatch.setattr(promotions, "judge", judge)
        promote(changed.root, "1", PARAMS)
        return judge(*arguments)

    monkeypatch.setattr(promotions, "judge", overtaken)
    with pytest.raises(RegistryError, match="version 1 was made champion meanwhile"):
        promote(changed.root, "2", PARAMS)
    assert champion(changed) == "1"


def promote_in_child(root, ref, barrier, answers):
    barrier.wait()
    try:
        answers.put(promote(root, ref, PARAMS).version.version)
    except (GateRefusedError, RegistryError) as error:
        answers.put(str(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes start from this one's imports")
def test_of_two_promotions_at_once_exactly_one_wins(changed):
    changed.build(tuned=1.7)
    sync(changed.root, PARAMS)
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(2), context.Queue()
    started = [
        context.Process(target=promote_in_child, args=(changed.root, ref, barrier, answers))
        for ref in ("1", "2")
    ]
    for process in started:
        process.start()
    found = [answers.get(timeout=60) for _ in started]
    for process in started:
        process.join()
    winners = [answer for answer in found if answer in ("1", "2")]
    assert winners == [champion(changed)]
    assert len([answer for answer in found if "champion" in answer]) == 1


def test_a_lock_whose_holder_died_is_broken_and_one_that_lives_is_named(changed, monkeypatch):
    client = open_store(changed.root).client
    lock = f"lock.{NAME}.champion"
    owner = {"host": mutex.socket.gethostname(), "pid": str(2**22 + 1), "started": "1.0"}
    client.create_registered_model(lock, tags=owner)
    assert promote(changed.root, "1", PARAMS).moved
    client.create_registered_model(lock, tags={"host": "another", "pid": "7", "since": "noon"})
    monkeypatch.setattr(mutex, "WAIT_SECONDS", 0.1)
    with pytest.raises(RegistryError, match=r"process 7 on another since noon.*lock\."):
        sync(changed.root, PARAMS)
