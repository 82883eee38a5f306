"""A version names the packages that its stages ran with, not those of the day it is registered."""

from dataclasses import replace

import pytest

from minigpt.cli.overview import packages
from minigpt.digest import file_digest, text_digest
from minigpt.errors import RegistryError
from minigpt.registry.checkout import checkout_state
from minigpt.registry.lineage.record import make_record
from minigpt.registry.overview import overview
from minigpt.registry.provenance import provenance, sbom
from minigpt.registry.refs import find_version
from minigpt.tracking.environment import TAG, Environment, distributions, environment

THEN = Environment(packages="a" * 64, locks={"requirements/base.txt": "b" * 64})


@pytest.fixture
def recorded(own_story):
    """A function: the record of what is built, its runs tagged with these environments."""
    (own_story.root / "requirements").mkdir()
    (own_story.root / "requirements" / "base.txt").write_text("torch==2\n")

    def record(**environments):
        client = own_story.registry.store.client
        for stage, env in environments.items():
            run = own_story.runs[{"download": "again download"}.get(stage, stage)]
            client.set_tag(run, TAG, env.model_dump_json())
        state = checkout_state(own_story.root)
        return make_record(own_story.registry, "0" * 64, state, [], None)

    return record


def told(story, record):
    """What a person is shown of it."""
    return list(packages(replace(overview(story.registry, "3"), record=record)))


def test_lock_files_are_those_of_the_runs(own_story, recorded):
    record = recorded(download=THEN, pretrain=THEN)
    assert [stage.environment for stage in record.stages] == [THEN, THEN]
    [lock] = provenance.lock_files(record, own_story.root)
    assert lock["digest"] == {"sha256": "b" * 64}
    assert lock["annotations"] == {"recorded": "with the run", "stages": ["download", "pretrain"]}
    [line] = told(own_story, record)
    assert line == f"sha256 {'a' * 12}…, not those installed here"


def test_environments_that_differ_among_stages_are_all_named(own_story, recorded):
    here = environment(own_story.root)
    record = recorded(download=here, pretrain=THEN)
    locks = list(provenance.lock_files(record, own_story.root))
    digests = {lock["digest"]["sha256"]: lock["annotations"]["stages"] for lock in locks}
    assert digests == {
        "b" * 64: ["pretrain"],
        file_digest(own_story.root / "requirements" / "base.txt"): ["download"],
    }
    lines = told(own_story, record)
    assert lines[0] == "not the same for every stage"
    assert f"sha256 {here.packages[:12]}… (download), as installed here" in lines
    assert f"sha256 {'a' * 12}… (pretrain), not those installed here" in lines


def test_what_no_run_recorded_is_told_from_what_was(own_story, recorded):
    record = recorded()
    [lock] = provenance.lock_files(record, own_story.root)
    assert lock["annotations"]["recorded"] == "at registration"
    assert told(own_story, record) == []
    record = recorded(pretrain=THEN)
    assert told(own_story, record)[-1] == "not recorded for download"
    recordings = {
        lock["annotations"]["recorded"]: lock["annotations"]["stages"]
        for lock in provenance.lock_files(record, own_story.root)
    }
    assert recordings == {"with the run": ["pretrain"], "at registration": ["download"]}


def test_the_bill_names_the_packages_of_each_stage_beside_those_it_lists(own_story, recorded):
    record = recorded(download=THEN, pretrain=environment(own_story.root))
    version, here = find_version(own_story.registry, "3"), text_digest(distributions())
    bom = sbom.with_model({}, record, version, "0" * 64, here)
    properties = {p["name"]: p["value"] for p in bom["metadata"]["component"]["properties"]}
    assert properties["minigpt:packages:listed"] == here
    assert properties["minigpt:packages:download"] == "a" * 64
    assert properties["minigpt:packages:pretrain"] == here


def test_a_bill_is_refused_where_one_stage_had_other_lock_files(own_story, recorded, monkeypatch):
    here = environment(own_story.root)
    record = recorded(download=THEN, pretrain=here)
    locks = list(provenance.lock_files(record, own_story.root))
    said = {"predicate": {"buildDefinition": {"resolvedDependencies": locks}}}
    monkeypatch.setattr(sbom, "read_envelope", lambda *_: ({}, said))
    with pytest.raises(RegistryError, match=r"requirements/base\.txt is not what .* built with"):
        sbom._refuse_other_locks(own_story.registry, find_version(own_story.registry, "3"))
