"""Where a version comes from, as its record tells it."""

import contextlib
import json
import shutil

import pytest

from minigpt.data.document import read_documents
from minigpt.digest import file_digest
from minigpt.errors import RegistryError
from minigpt.graph import read_graph
from minigpt.registry.artifacts import FILES
from minigpt.registry.checkout import checkout_state
from minigpt.registry.lineage.record import RECORD, make_record, read_record, read_sources
from minigpt.registry.lineage.trace import query_for, trace
from minigpt.registry.refs import find_version
from minigpt.release.document_index import FACTS
from tests.registry.checkout import NAME
from tests.registry.story import MACHINE


def test_a_version_keeps_where_it_comes_from(story):
    record = story.record(2)
    assert json.loads((story.artifacts(2) / RECORD).read_text()) == record.model_dump(mode="json")
    assert record.machine == MACHINE
    assert (record.name, record.dirty) == (NAME, True)
    assert record.digest == find_version(story.registry, "2").digest
    letters, plays = record.sources
    assert (plays.kind, plays.place, plays.licence, plays.role, plays.lang) == (
        "package", "plays 0.6", "public domain", "pretrain", "en",
    )  # fmt: skip
    file = story.root / "data" / "archives" / "plays-0.6.tar"
    assert plays.archives == {"plays-0.6.tar": file_digest(file)}
    assert (letters.place, letters.documents) == ("data/local/letters", {"test": 1, "train": 4})
    assert list(letters.archives) == ["letters.tar"]
    download, pretrain = record.stages  # in the graph's order, not dvc.lock's
    assert (download.name, pretrain.name) == ("download", "pretrain")
    assert set(pretrain.outs) == {"models/base", "results/pretrain.json", "plots/pretrain.csv"}
    assert pretrain.deps == {"data/documents": "d0.dir"}
    assert pretrain.output_digest == read_graph(story.root)["pretrain"].output_digest(story.root)


def test_a_stage_ran_for_the_first_version_with_its_outputs_and_was_restored_for_the_next(story):
    stages = [(s.name, s.outcome, s.run, s.version) for s in story.record(2).stages]
    assert stages == [
        ("download", "ran", story.runs["download"], None),
        ("pretrain", "ran", story.runs["pretrain"], None),
    ]
    stages = [(s.name, s.outcome, s.run, s.version) for s in story.record(3).stages]
    assert stages == [
        ("download", "ran", story.runs["again download"], None),
        ("pretrain", "restored", story.runs["pretrain"], f"{NAME} 2"),
    ]


def test_a_version_without_a_record_gets_the_same_from_its_files(own_story):
    before = own_story.record(3)
    (own_story.artifacts(3) / RECORD).unlink()
    record = own_story.record(3)
    download, pretrain = record.stages
    assert download == before.stages[0]
    # Plots are no artifacts of a version, so what the stage wrote cannot be told any more.
    lost = {"output_digest": None, "run": None, "version": None}
    assert pretrain == before.stages[1].replace(**lost)
    assert record.replace(stages=()) == before.replace(stages=())


def test_a_record_that_cannot_be_read_is_put_together_anew(own_story):
    before = own_story.record(3)
    for damage in ("{", '{"format": 2}'):
        (own_story.artifacts(3) / RECORD).write_text(damage)
        assert own_story.record(3).sources == before.sources


DAMAGED = (
    "{",
    "[]",
    '{"files": 5}',
    '{"files": [{}]}',
    '{"files": [1]}',
    '{"files": {"a": 1}}',
    '"a"',
)


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_list_of_files_is_one_message_where_the_record_is_gone_too(own_story, damage):
    (own_story.artifacts(3) / FILES).write_text(damage)
    assert own_story.record(3).sources  # its own record has all of it
    (own_story.artifacts(3) / RECORD).unlink()
    version = find_version(own_story.registry, "3")
    for ask in (read_record, read_sources):
        with pytest.raises(
            RegistryError, match=r"release/files\.json is damaged\. Put the store's"
        ):
            ask(own_story.registry, version)


@pytest.mark.parametrize("file", ["dvc.lock", "params.yaml", "dvc.yaml"])
@pytest.mark.parametrize(
    "damage", ["", "[]", "stages: 5\nsources: 5", "\0", "a: [", "sources: {a: 1}"]
)
def test_no_damaged_file_of_a_version_ends_in_a_traceback(own_story, file, damage):
    (own_story.artifacts(3) / RECORD).unlink()
    (own_story.artifacts(3) / file).write_text(damage)
    with contextlib.suppress(RegistryError):
        assert own_story.record(3).digest


def test_of_a_version_whose_files_are_gone_only_its_tags_are_known(own_story):
    version = find_version(own_story.registry, "3")
    shutil.rmtree(own_story.artifacts(3))
    record = own_story.record(3)
    assert (record.digest, record.commit) == (version.digest, version.commit)
    assert (record.sources, record.stages, record.machine) == ((), (), {})
    answer = trace(
        own_story.registry, query_for(own_story.root, "data/local/letters/held.txt", own_story.root)
    )
    assert ([v.version for v in answer.held_out], [v.version for v in answer.unknown]) == (
        ["2"],
        ["3"],
    )


def test_a_new_store_gets_the_same_record_but_for_its_runs(story, tmp_path, monkeypatch):
    before = story.record(3)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{(tmp_path / 'mlflow.db').as_posix()}")
    state, new = checkout_state(story.root), story.registry
    no_run = {"run": None, "outcome": "restored", "version": None}
    expected = before.replace(stages=[stage.replace(**no_run) for stage in before.stages])
    documents = read_documents(story.root / "data/documents", FACTS)
    made = make_record(new, before.digest, state, documents, None)
    assert made == expected
