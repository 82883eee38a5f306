"""Which versions a text went into."""

import json
import shutil

import pytest

from minigpt.data.document import Document, write_documents
from minigpt.data.splits import cut_document
from minigpt.digest import file_digest
from minigpt.errors import DataError, ParamsError, RegistryError
from minigpt.registry.lineage import trace as trace_module
from minigpt.registry.lineage.trace import by_digest, query_for, trace, trace_everywhere
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.versions import list_versions
from minigpt.release.document_index import INDEX, RUNS, write_index
from minigpt.tracking.relocate import relocate
from tests.registry.checkout import NAME, Checkout
from tests.registry.promotions import reseal
from tests.registry.story import Story


def seen(story, what):
    """(trained, held out, never) versions of what a person names."""
    answer = trace(story.registry, query_for(story.root, str(what), story.root))
    return tuple(
        "".join(v.version for v in vs) for vs in (answer.trained, answer.held_out, answer.never)
    )


def test_a_text_is_found_however_it_is_given(story, tmp_path):
    letter = tmp_path / "anything.txt"  # its name does not matter, nor do its line ends
    letter.write_text("The harvest is in.\n")
    assert seen(story, letter) == ("2", "", "13")
    [holding] = trace(story.registry, by_digest(file_digest(letter)[:8])).holdings
    assert (holding.doc_id, holding.split) == ("letters/1862-09.txt", "train")
    assert seen(story, holding.sha256) == seen(story, holding.sha256[:8].upper()) == ("2", "", "13")
    # Of a package: cleaned as its source cleans it.
    (tmp_path / "macbeth.txt").write_text(
        "Macbeth\n\nby William Shakespeare\n\nWhen shall we three"
    )
    assert seen(story, tmp_path / "macbeth.txt") == ("23", "", "1")


def test_a_held_out_text_is_told_from_one_that_was_learned(story):
    assert seen(story, "data/local/letters/held.txt") == ("", "23", "1")
    assert seen(story, "data/local/letters") == ("23", "23", "1")


def test_a_record_of_a_jsonl_is_found_by_itself(story, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"text": "another note", "work": "of another name"}\n')
    [first, second] = trace(
        story.registry, query_for(story.root, str(tmp_path / "one.jsonl"))
    ).holdings
    assert (first.doc_id, second.version.version) == ("letters/notes.jsonl#2", "3")


def test_an_archive_stands_for_every_document_in_it(story):
    archive = story.root / "data" / "archives" / "plays-0.6.tar"
    assert seen(story, archive) == seen(story, file_digest(archive)[:12]) == ("23", "", "1")
    [of_version_2] = [s for s in story.record(2).sources if s.name == "letters"]
    assert seen(story, of_version_2.archives["letters.tar"]) == ("2", "2", "13")


def test_the_parts_of_a_text_that_was_cut_are_found(own_story):
    text = "\n\n".join(f"Paragraph {n} of a long letter." for n in range(40))
    about = {"source": "letters", "role": "finetune", "work": "long", "lang": "en"}
    whole = Document(
        "letters/long.txt", f"{text}\n", **about, licence="", split="", sha256="-", origin="-"
    )
    folder = own_story.artifacts(3)
    write_documents(folder / "documents.parquet", cut_document(whole))
    write_index(folder, folder / INDEX, folder / RUNS)
    reseal(own_story.registry, find_version(own_story.registry, "3"), INDEX, RUNS)
    (own_story.root / "long.txt").write_text(text)
    assert seen(own_story, own_story.root / "long.txt") == ("3", "3", "12")


def test_a_file_that_is_gone_or_was_changed_is_known_by_its_path(own_story):
    gone = query_for(own_story.root, "data/local/letters/1862-09.txt", own_story.root)
    answer = trace(own_story.registry, gone)
    assert (answer.trained, [h.version.version for h in answer.namesakes]) == ((), ["2"])
    assert (answer.gone, answer.never) == (True, ())  # it may be the very text that version 2 had
    (own_story.root / "data/local/letters/notes.jsonl").write_text('{"text": "rewritten"}\n')
    answer = trace(
        own_story.registry,
        query_for(own_story.root, "data/local/letters/notes.jsonl", own_story.root),
    )
    assert (answer.trained, {h.doc_id for h in answer.namesakes}) == (
        (), {"letters/notes.jsonl#1", "letters/notes.jsonl#2"},
    )  # fmt: skip
    assert (answer.gone, [v.version for v in answer.never]) == (False, ["1", "2", "3"])
    shutil.rmtree(own_story.root / "data/local/letters")
    answer = trace(
        own_story.registry, query_for(own_story.root, "data/local/letters", own_story.root)
    )
    assert {h.version.version for h in answer.namesakes} == {"2", "3"}


@pytest.mark.parametrize("place", ["../letters", "{outside}/letters"])
def test_a_file_that_is_gone_from_a_linked_folder_is_known_by_its_path(
    own_story, place, monkeypatch
):
    outside, real = own_story.root.parent, trace_module.read_sources
    place = place.format(outside=outside)
    source = {"kind": "local", "path": place, "role": "finetune", "licence": "private"}
    (own_story.root / "params.yaml").write_text(json.dumps({"sources": {"letters": source}}))

    def moved(*arguments):
        return tuple(s.replace(place=place) for s in real(*arguments))

    monkeypatch.setattr(trace_module, "read_sources", moved)
    gone = query_for(own_story.root, f"{outside}/letters/1862-09.txt", own_story.root)
    answer = trace(own_story.registry, gone)
    assert (answer.gone, [h.version.version for h in answer.namesakes]) == (True, ["2"])
    with pytest.raises(ParamsError, match="no such file"):
        query_for(own_story.root, f"{outside}/others/1862-09.txt", own_story.root)


@pytest.mark.parametrize("what", ["0123456", "no such file", "/etc/no-such-file"])
def test_what_is_neither_a_file_nor_a_digest_is_refused(story, what):
    with pytest.raises(ParamsError, match=r"no such file, and it is no sha256"):
        query_for(story.root, what, story.root)


@pytest.mark.parametrize("what", ["", " "])
def test_nothing_is_not_the_current_folder(story, what):
    """`minigpt takedown "$FILE"`, where FILE is not set, would take out all that lies here."""
    with pytest.raises(ParamsError, match="which text"):
        query_for(story.root, what, story.root)


@pytest.mark.parametrize("up", [0, 1])
def test_a_folder_that_holds_the_project_is_no_folder_of_texts(story, up):
    """`lineage --data .`, which would read the environment, git's objects and the cache."""
    here = [story.root, *story.root.parents][up]
    with pytest.raises(ParamsError, match="holds the whole project; name a file"):
        query_for(story.root, ".", here)


def test_a_folder_that_cannot_be_gone_through_is_named(story, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("minigpt.registry.lineage.trace.files_of", refuse)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        query_for(story.root, str(tmp_path), story.root)


def test_a_store_that_is_not_there_is_answered(checkout):
    assert trace_everywhere(checkout.registry, query_for(checkout.root, "0" * 64)) == {
        NAME: trace(checkout.registry, query_for(checkout.root, "0" * 64))
    }
    assert not (checkout.root / "mlflow.db").exists()


def test_lineage_holds_after_the_checkout_was_moved(own_story, tmp_path):
    before = own_story.record(3)
    shutil.move(own_story.root, tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match="minigpt registry relocate"):
        list_versions(Registry(tmp_path / "elsewhere", NAME))
    relocate(tmp_path / "elsewhere")
    moved = Story(Checkout(tmp_path / "elsewhere"), own_story.runs)
    assert moved.record(3) == before
    assert seen(moved, "data/local/letters/held.txt") == ("", "23", "1")


def test_a_file_of_a_folder_that_cannot_be_read_is_named_by_its_path(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jsonl").write_text("{")
    with pytest.raises(DataError, match=r"deep/a\.jsonl: line 1, column 2 is not JSON") as refused:
        query_for(tmp_path, str(tmp_path / "deep"))
    assert str(refused.value).startswith(str(tmp_path))
