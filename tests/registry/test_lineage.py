"""Which data made a model, and which models a text went into."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.cli.overview import run_places
from minigpt.data.document import Document, read_documents
from minigpt.data.splits import cut_document
from minigpt.digest import file_digest
from minigpt.errors import ParamsError, RegistryError
from minigpt.graph import read_graph
from minigpt.registry.checkout import checkout_state
from minigpt.registry.lineage.index import FACTS, write_index
from minigpt.registry.lineage.record import RECORD, Record, make_record, read_record
from minigpt.registry.lineage.trace import by_digest, query_for, trace, trace_everywhere
from minigpt.registry.overview import overview, runs_at
from minigpt.registry.promotion.audit_log import append
from minigpt.registry.refs import find_version
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.versions import BITS, TAKEN_DOWN, VERIFIED, list_versions
from minigpt.tracking.relocate import relocate
from minigpt.tracking.store import Store, local_path
from tests.registry.conftest import NAME, Checkout
from tests.registry.story import LETTERS, MACHINE, ran, tell

RUNNER = CliRunner()


@dataclass(frozen=True)
class Story:
    """Version 1 has no letters; 2 learned from three and held one out; 3 no longer has one."""

    checkout: Checkout
    runs: dict[str, str]

    @property
    def root(self):
        return self.checkout.root

    @property
    def registry(self):
        return self.checkout.registry

    def record(self, number):
        return read_record(self.registry, find_version(self.registry, str(number)))

    def artifacts(self, number):
        run_id = find_version(self.registry, str(number)).run_id
        return local_path(self.registry.store.client.get_run(run_id).info.artifact_uri)


@pytest.fixture(scope="module")
def story(registered, tmp_path_factory):
    root = tmp_path_factory.mktemp("story") / "a checkout"
    shutil.copytree(registered.root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MINIGPT_KEY", "none")
        # DVC did not write its dvc.lock: nothing was built from the code that it names.
        patch.setattr("minigpt.registry.register.refuse_other_inputs", lambda root: None)
        relocate(root)
        checkout = Checkout(root)
        tell(root)
        runs = ran(root, "download", "pretrain")
        register(checkout.registry)
        tell(root, leave_out="1862-09.txt")
        runs |= {f"again {stage}": run for stage, run in ran(root, "download").items()}
        checkout.git("add", "-A")
        checkout.git("commit", "-q", "-m", "one letter less")
        register(checkout.registry)
    return Story(checkout, runs)


@pytest.fixture
def own(story, tmp_path):
    """A copy whose store may be changed."""
    root = tmp_path / "copy"
    shutil.copytree(story.root, root)
    relocate(root)
    return Story(Checkout(root), story.runs)


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
    assert set(pretrain.outs) == {"models/base", "metrics/pretrain.json", "plots/pretrain.csv"}
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


def test_a_version_without_a_record_gets_the_same_from_its_files(own):
    before = own.record(3)
    (own.artifacts(3) / RECORD).unlink()
    found = own.record(3)
    download, pretrain = found.stages
    assert download == before.stages[0]
    # Plots are no artifacts of a version, so what the stage wrote cannot be told any more.
    lost = {"output_digest": None, "run": None, "version": None}
    assert pretrain == before.stages[1].replace(**lost)
    assert found.replace(stages=()) == before.replace(stages=())


def test_a_record_that_cannot_be_read_is_put_together_anew(own):
    before = own.record(3)
    for damage in ("{", '{"format": 2}'):
        (own.artifacts(3) / RECORD).write_text(damage)
        assert own.record(3).sources == before.sources


def test_of_a_version_whose_files_are_gone_only_its_tags_are_known(own):
    version = find_version(own.registry, "3")
    shutil.rmtree(own.artifacts(3))
    record = own.record(3)
    assert (record.digest, record.commit) == (version.digest, version.commit)
    assert (record.sources, record.stages, record.machine) == ((), (), {})
    found = trace(own.registry, query_for(own.root, "data/local/letters/held.txt", own.root))
    assert ([v.version for v in found.held_out], [v.version for v in found.unknown]) == (
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
    made = make_record(story.root, new, NAME, before.digest, state, documents, None)
    assert made == expected


def seen(story, what):
    """(trained, held out, never) versions of what a person names."""
    found = trace(story.registry, query_for(story.root, str(what), story.root))
    return tuple(
        "".join(v.version for v in vs) for vs in (found.trained, found.held_out, found.never)
    )


def test_a_text_is_found_however_it_is_given(story, tmp_path):
    letter = tmp_path / "anything.txt"  # its name does not matter, nor do its line ends
    letter.write_text("The harvest is in.\n")
    assert seen(story, letter) == ("2", "", "13")
    [found] = trace(story.registry, by_digest(file_digest(letter)[:8])).holdings
    assert (found.doc_id, found.split) == ("letters/1862-09.txt", "train")
    assert seen(story, found.sha256) == seen(story, found.sha256[:8].upper()) == ("2", "", "13")
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


def test_the_parts_of_a_text_that_was_cut_are_found(own):
    text = "\n\n".join(f"Paragraph {n} of a long letter." for n in range(40))
    about = {"source": "letters", "role": "finetune", "work": "long", "lang": "en"}
    whole = Document(
        "letters/long.txt", f"{text}\n", **about, licence="", split="", sha256="-", origin="-"
    )
    write_index(own.artifacts(3), cut_document(whole))
    (own.root / "long.txt").write_text(text)
    assert seen(own, own.root / "long.txt") == ("3", "3", "12")


def test_a_file_that_is_gone_or_was_changed_is_known_by_its_path(own):
    gone = query_for(own.root, "data/local/letters/1862-09.txt", own.root)
    found = trace(own.registry, gone)
    assert (found.trained, [h.version.version for h in found.namesakes]) == ((), ["2"])
    assert (found.gone, found.never) == (True, ())  # it may be the very text that version 2 had
    (own.root / "data/local/letters/notes.jsonl").write_text('{"text": "rewritten"}\n')
    found = trace(own.registry, query_for(own.root, "data/local/letters/notes.jsonl", own.root))
    assert (found.trained, {h.doc_id for h in found.namesakes}) == (
        (), {"letters/notes.jsonl#1", "letters/notes.jsonl#2"},
    )  # fmt: skip
    assert (found.gone, [v.version for v in found.never]) == (False, ["1", "2", "3"])
    shutil.rmtree(own.root / "data/local/letters")
    found = trace(own.registry, query_for(own.root, "data/local/letters", own.root))
    assert {h.version.version for h in found.namesakes} == {"2", "3"}


@pytest.mark.parametrize("what", ["0123456", "no such file", "/etc/no-such-file"])
def test_what_is_neither_a_file_nor_a_digest_is_refused(story, what):
    with pytest.raises(ParamsError, match=r"no such file, and it is no sha256"):
        query_for(story.root, what, story.root)


def test_a_store_that_is_not_there_is_answered(checkout):
    assert trace_everywhere(checkout.registry, query_for(checkout.root, "0" * 64)) == {
        NAME: trace(checkout.registry, query_for(checkout.root, "0" * 64))
    }
    assert not (checkout.root / "mlflow.db").exists()


def invoke(story, monkeypatch, *arguments):
    monkeypatch.chdir(story.root)
    done = RUNNER.invoke(app, ["lineage", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def test_the_command_tells_a_version_on_one_screen(own, monkeypatch):
    at = json.dumps({"at": "2026-11-24T21:04:00+00:00", "verdict": "identical"})
    own.registry.store.client.set_model_version_tag(NAME, "3", VERIFIED, at)
    done = invoke(own, monkeypatch, "3", "--stages")
    screen, table, archives = done.stdout.split("\n\n")
    version = find_version(own.registry, "3")
    lines = screen.splitlines()
    assert lines[0] == f"{NAME} version 3 · challenger · sha256 {version.digest[:12]}…"
    assert lines[1].startswith(f"  code      commit {version.commit[:12]} (clean) · params.yaml ")
    assert lines[2] == "  machine   linux-x86_64 avx2 · torch 2.13.0+cpu · cpu · 2 threads · eager"
    assert lines[3].startswith("  sources   data/local/letters  ")
    assert lines[4].startswith("            plays 0.6           ")
    assert lines[4].endswith("public domain")
    assert lines[5] == "  stages    download ran · pretrain from cache (run of version 2)"
    assert lines[6] == (
        "  judged    1.80 bits per byte on speeches (95 %: 1.78 to 1.82) · "
        "2.20 on plays (95 %: 2.18 to 2.22)"
    )
    assert "verified byte for byte on 2026-11-24 · provenance" in lines[7]
    assert own.runs["pretrain"] in table
    assert re.search(rf"registration +ran +- +{version.run_id}\n", f"{table}\n")
    digest = file_digest(own.root / "data" / "archives" / "plays-0.6.tar")
    assert re.search(rf"plays +plays-0\.6\.tar +{digest}\n", archives)
    assert "minigpt verify 3" in done.stderr
    assert "make up" in done.stderr
    facts = json.loads(invoke(own, monkeypatch, "3", "--json").stdout)
    assert Record.model_validate(facts["record"]) == own.record(3)
    assert facts["runs"]["pretrain"] == own.runs["pretrain"]
    assert facts["patch"] is None


def test_the_command_tells_by_what_the_tree_differed_from_the_commit(own, monkeypatch):
    patch = own.artifacts(2) / "source.patch"
    done = invoke(own, monkeypatch, "2", "--stages")
    assert done.stdout.endswith(f"\n\nsource.patch  {patch}\n")
    assert "minigpt lineage 2 --patch" in done.stderr
    assert json.loads(invoke(own, monkeypatch, "2", "--json").stdout)["patch"] == str(patch)
    printed = invoke(own, monkeypatch, "2", "--patch").stdout_bytes
    assert printed == patch.read_bytes() != b""
    with pytest.raises(RegistryError, match=r"3 has no source\.patch: its tree was as commit"):
        invoke(own, monkeypatch, "3", "--patch")
    patch.unlink()
    assert "source.patch  is gone" in invoke(own, monkeypatch, "2", "--stages").stdout
    with pytest.raises(RegistryError, match=r"2 has no source\.patch: it is gone"):
        invoke(own, monkeypatch, "2", "--patch")
    with pytest.raises(ParamsError, match="with a version alone"):
        invoke(own, monkeypatch, "2", "--patch", "--json")


def test_a_run_on_a_server_is_given_as_a_link(own, monkeypatch):
    found = overview(own.registry, "3")
    at = runs_at(
        SimpleNamespace(store=Store("http://me:secret@host:5000/", own.registry.store.client, "7"))
    )
    assert at == "http://host:5000/#/experiments/7/runs/"
    places = run_places(replace(found, runs_at=at))
    assert places["pretrain"] == f"{at}{own.runs['pretrain']}"
    assert places["registration"] == f"{at}{found.version.run_id}"


def test_of_another_model_the_next_commands_name_it(own, monkeypatch):
    monkeypatch.setattr("minigpt.cli.shared.model_name", lambda: "minigpt")
    said = invoke(own, monkeypatch, f"models:/{NAME}/3").stderr
    assert f"minigpt verify models:/{NAME}/3 · minigpt lineage models:/{NAME}/3 --stages" in said


def test_the_command_tells_who_was_beaten_and_what_should_not_have_been_learned(own, monkeypatch):
    client = own.registry.store.client
    client.set_model_version_tag(NAME, "2", BITS, "1.86")
    append(own.registry, NAME, "promoted", version=find_version(own.registry, "3"), before="2")
    client.set_registered_model_alias(NAME, "champion", "3")
    down = {"documents": ["f" * 64], "reason": "the sister asked", "at": "2026-11-25T01:00:00"}
    client.set_model_version_tag(NAME, "3", TAKEN_DOWN, json.dumps(down))
    screen = invoke(own, monkeypatch).stdout  # nothing named: champion
    assert re.search(r"version 3 · challenger · champion since \d{4}-\d\d-\d\d \d\d:\d\d ·", screen)
    assert "beat version 2 by 0.06" in screen
    assert (
        "warning   it learned from a document that was taken down on 2026-11-25: the sister asked"
        in screen
    )


def test_the_command_tells_which_versions_a_text_went_into(own, monkeypatch):
    path = "data/local/letters/1862-03.txt"
    done = invoke(own, monkeypatch, "--data", path)
    assert (
        done.stdout == "used in training: versions 2, 3 · held out: none · version 1 never saw it\n"
    )
    assert f"minigpt takedown {path}" in done.stderr
    done = invoke(own, monkeypatch, "--data", "f" * 64)
    assert done.stdout == "no version ever saw it\n"
    found = json.loads(invoke(own, monkeypatch, "--data", path, "--json").stdout)[NAME]
    assert (found["trained"], found["never"], found["here"]) == (["2", "3"], ["1"], True)
    (own.root / path).write_text("rewritten\n")
    done = invoke(own, monkeypatch, "--data", path)
    assert "no version ever saw it\n  version 2 had another text at that path: " in done.stdout


def test_of_a_file_that_is_gone_nobody_says_that_it_was_never_seen(own, tmp_path, monkeypatch):
    gone = "data/local/letters/1862-09.txt"
    (tmp_path / "it").write_bytes(LETTERS["1862-09.txt"].encode())
    file = file_digest(tmp_path / "it")
    [holding] = trace(own.registry, by_digest(file)).holdings
    had = f"letters/1862-09.txt (train, sha256 {holding.sha256})"
    done = invoke(own, monkeypatch, "--data", gone)
    assert done.stdout == (
        f"that file is not here\n  version 2 had a text that may be it at that path: {had}\n"
    )
    assert f"Next: minigpt takedown {file} " in done.stderr
    found = json.loads(invoke(own, monkeypatch, "--data", gone, "--json").stdout)[NAME]
    assert (found["never"], found["here"]) == ([], False)
    asked = RUNNER.invoke(app, ["takedown", gone, "--reason", "asked", "--yes"])
    assert isinstance(asked.exception, ParamsError)
    said = str(asked.exception)
    assert said == (
        f"{gone}: that file is not here, so its text is not known. "
        f"At that path {NAME} 2 had {had}. Run: minigpt takedown {file}"
    )
    done = invoke(own, monkeypatch, "--data", "data/local/letters/none.txt")
    assert done.stdout == "that file is not here · no version had a text at that path\n"
    asked = RUNNER.invoke(app, ["takedown", "data/local/letters/none.txt", "--dry-run"])
    assert "No version had a text at that path. Put the file back" in str(asked.exception)


def test_a_package_folder_names_the_version_that_holds_it(own, monkeypatch, tmp_path):
    shutil.copytree(own.root / "models" / "finetuned", tmp_path / "sent")
    done = invoke(own, monkeypatch, str(tmp_path / "sent"))
    assert done.stdout.startswith(f"{NAME} version 3 · ")
    (tmp_path / "sent" / "model.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"no version of minigpt-test holds this package"):
        invoke(own, monkeypatch, str(tmp_path / "sent"))


def test_a_version_and_a_text_are_not_asked_for_at_once(own, monkeypatch):
    with pytest.raises(ParamsError, match="give it alone"):
        invoke(own, monkeypatch, "3", "--data", "f" * 64)


def test_lineage_holds_after_the_checkout_was_moved(own, tmp_path):
    before = own.record(3)
    shutil.move(own.root, tmp_path / "elsewhere")
    with pytest.raises(RegistryError, match="minigpt registry relocate"):
        list_versions(Registry(tmp_path / "elsewhere", NAME))
    relocate(tmp_path / "elsewhere")
    moved = Story(Checkout(tmp_path / "elsewhere"), own.runs)
    assert moved.record(3) == before
    assert seen(moved, "data/local/letters/held.txt") == ("", "23", "1")
