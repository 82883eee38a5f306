"""Taking a document out: what it concerns, what is marked, what is stated, what is refused."""

import json
import shutil
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.cli.takedown import unseen
from minigpt.data.checks import drop
from minigpt.data.config import Bounds
from minigpt.data.document import write_documents
from minigpt.data.splits import cut_document
from minigpt.digest import file_digest
from minigpt.errors import DataError, GateRefusedError, ParamsError, RegistryError, StageError
from minigpt.registry.artifacts import find_artifact, read_artifact
from minigpt.registry.lineage.index import index_of
from minigpt.registry.promotion.promote import rollback
from minigpt.registry.refs import find_version
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.takedown import plan as planning
from minigpt.registry.takedown import takedown
from minigpt.registry.takedown.exclude import excluded
from minigpt.registry.takedown.plan import plan
from minigpt.registry.takedown.revoke import BEGIN
from minigpt.registry.takedown.takedown import carry_out
from minigpt.registry.versions import CHAMPION, list_versions
from minigpt.release.document_index import INDEX
from minigpt.tracking.relocate import relocate
from tests.registry.letters import (
    BOUNDS,
    LETTER,
    LETTER_SHA,
    NAME,
    RAW,
    build,
    document,
)
from tests.registry.logs import whole_log

RUNNER = CliRunner()


@pytest.fixture(scope="module", autouse=True)
def _no_expectations():
    """Importing Great Expectations takes seconds; the test that needs it asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_refuse_impossible", lambda *_: None)
        yield


REFUSE_IMPOSSIBLE = planning._refuse_impossible


@pytest.fixture(scope="module")
def done(registered, tmp_path_factory):
    """Version 2 and one of another name learned from the letter, then it was taken down."""
    root = tmp_path_factory.mktemp("takedown") / "copy"
    shutil.copytree(registered.root, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("MINIGPT_KEY", "none")
        relocate(root)
        checkout = type(registered)(root)
        write_documents(root / "data/raw/documents.parquet", RAW)
        (root / "data/raw/licences.json").write_text("{}")
        build(checkout, tuned=1.75, champion=True)(root, False)
        register(Registry(root, "another"))
        values = yaml.safe_load((root / "params.yaml").read_text())
        values["release"] = {"name": NAME}
        (root / "params.yaml").write_text(yaml.safe_dump(values))
        before = (root / "params.yaml").read_text()
        removal = plan(checkout.registry, LETTER_SHA[:12], BOUNDS)
        assert (root / "params.yaml").read_text() == before
        stated = carry_out(checkout.registry, removal, "she asked", build=build(checkout))
    return SimpleNamespace(
        checkout=checkout, root=root, registry=checkout.registry, plan=removal, stated=stated
    )


def test_the_plan_names_versions_of_every_name_and_what_repeats_the_text(done):
    assert [d.doc_id for d in done.plan.documents] == ["speeches/letter.txt"]
    assert [(v.name, v.version) for v, _ in done.plan.trained] == [(NAME, "2"), ("another", "1")]
    assert done.plan.held_out == ()
    assert [near.document.doc_id for near in done.plan.near] == ["speeches/copy.txt"]
    assert done.plan.exclude == (LETTER_SHA,)


def test_archives_that_nobody_can_tell_are_not_taken_for_none(done, monkeypatch):
    monkeypatch.setattr("minigpt.data.document.LICENCES", "documents.parquet")  # no JSON
    with pytest.raises(DataError, match=r"cannot be read\. Run: dvc repro --force download"):
        plan(done.registry, LETTER_SHA, BOUNDS)


def test_params_exclude_it_and_the_new_version_has_it_neither_in_its_index_nor_tokens(done):
    assert excluded(done.root) == (LETTER_SHA,)
    assert yaml.safe_load((done.root / "params.yaml").read_text())["model"] == {"n_layer": 1}
    registry, new = done.registry, find_version(done.registry, "3")
    assert LETTER_SHA not in {d.sha256 for d in index_of(registry, new)}
    values = done.stated.values
    assert values["now"]["version"] == "3"
    assert values["index"]["documents"] == values["tokens"]["documents"] == len(RAW) - 1
    assert values["tokens"]["compared"] == 1


def test_the_statement_is_kept_with_the_new_version_and_gives_the_loss_on_unseen_text(done):
    registry, new = done.registry, find_version(done.registry, "3")
    statement = json.loads(read_artifact(registry, new, f"takedown/{LETTER_SHA[:12]}.json"))
    assert statement == done.stated.values
    assert [near["doc_id"] for near in statement["near"]] == ["speeches/copy.txt"]  # it stays
    loss = statement["loss"]
    assert loss["compared"] == ["speeches/test.txt", "speeches/test2.txt"]
    assert (loss["before"]["version"], loss["after"]["version"]) == ("2", "3")
    assert 0 < loss["before"]["text"] < 10
    text = read_artifact(registry, new, f"takedown/{LETTER_SHA[:12]}.txt").decode()
    for said in ("she asked", "version 2, another 1", "copy.txt", "none with this sha256"):
        assert said in text


def test_versions_that_learned_from_it_are_marked_in_tag_card_and_log(done):
    registry = done.registry
    for name, number in ((NAME, "2"), ("another", "1")):
        version = find_version(Registry(done.root, name), number)
        note = json.loads(version.taken_down)
        assert (note["documents"], note["reason"]) == ([LETTER_SHA], "she asked")
        assert LETTER_SHA in read_artifact(registry, version, "README.md").decode()
        assert LETTER_SHA in registry.store.client.get_model_version(name, number).description
        [event] = [e for e in whole_log(registry, name) if e.kind == "taken down"]
        assert (event.version, event.reason) == (number, "she asked")
        assert LETTER_SHA in event.conditions[0].found
    for number in ("1", "3"):
        assert find_version(done.registry, number).taken_down is None


def test_a_refused_new_version_is_told_from_a_promoted_one(done):
    assert done.stated.champion.version == "2"
    assert done.stated.champion_has_it


def test_a_version_that_learned_from_it_does_not_come_back_by_rollback(done):
    client = done.registry.store.client
    client.set_registered_model_alias(NAME, CHAMPION, "3")
    with pytest.raises(GateRefusedError, match="she asked"):
        rollback(done.registry, to="2")
    assert find_version(done.registry, CHAMPION).version == "3"


def test_the_same_again_marks_nothing_twice(done):
    again = plan(done.registry, LETTER_SHA, BOUNDS)
    assert again.exclude == ()
    carry_out(done.registry, again, "asked again", build=build(done.checkout))
    assert [v.version for v in list_versions(done.registry)] == ["1", "2", "3"]
    events = whole_log(done.registry)
    assert [e.kind for e in events].count("taken down") == 1
    card = read_artifact(done.registry, find_version(done.registry, "2"), "README.md")
    assert card.decode().count(BEGIN) == 1


def test_a_held_out_document_marks_no_version(done):
    removal = plan(done.registry, RAW[-2].sha256, BOUNDS)
    assert removal.trained == ()
    assert {(v.name, v.version) for v, _ in removal.held_out} == {
        (NAME, "2"), (NAME, "3"), ("another", "1")
    }  # fmt: skip


@pytest.fixture
def run(done, monkeypatch):
    """The command, in that checkout; an error of ours is raised, as in the entry point."""
    monkeypatch.chdir(done.root)

    def invoke(*arguments):
        asked = RUNNER.invoke(app, ["takedown", *arguments])
        if asked.exception is not None and not isinstance(asked.exception, SystemExit):
            raise asked.exception
        return asked

    return invoke


def test_the_command_answers_and_shows_without_changing_anything(run, done, tmp_path):
    before = (done.root / "params.yaml").read_text()
    (tmp_path / "unseen.txt").write_text("nobody ever read this\n")
    asked = run(str(tmp_path / "unseen.txt"))
    assert (asked.exit_code, "ever saw" in asked.stdout) == (0, True)
    assert not json.loads(run("ab" * 20, "--json").stdout)["seen"]
    shown = run(RAW[4].sha256, "--dry-run").stdout
    for said in ("speeches/copy.txt", "another 1", f"gains {RAW[4].sha256}"):
        assert said in shown
    with pytest.raises(ParamsError, match="--reason"):
        run(RAW[4].sha256)
    with pytest.raises(ParamsError, match="no such file"):
        run("letter.txt", "--reason", "she asked")
    assert run(RAW[4].sha256, "--reason", "she asked").exit_code == 1  # nobody said yes
    assert (done.root / "params.yaml").read_text() == before


def test_the_command_says_that_champion_still_learned_from_it(run, done, monkeypatch):
    monkeypatch.setattr(takedown, "release", build(done.checkout))
    client = done.registry.store.client
    client.set_registered_model_alias(NAME, CHAMPION, "2")
    with pytest.raises(GateRefusedError, match=r"version 2.*registry promote 3 --force --reason"):
        run(LETTER_SHA, "--reason", "she asked", "--yes", "--json")
    client.set_registered_model_alias(NAME, CHAMPION, "3")
    asked = run(LETTER_SHA, "--reason", "she asked", "--yes", "--json")
    assert json.loads(asked.stdout)["champion"] == "3"
    assert "another learned from it too" in asked.stderr


def test_a_copy_that_differs_is_found_by_file_and_taken_out_too_if_asked(done, tmp_path):
    file = tmp_path / "his letter.txt"
    file.write_text(LETTER.replace("the 7 letters", "the seven letters"), encoding="utf-8")
    assert not (removal := plan(done.registry, str(file), BOUNDS)).seen
    near = ["speeches/copy.txt", "speeches/letter.txt"]
    assert sorted(copy.document.doc_id for copy in removal.near) == near
    removal = plan(done.registry, str(file), BOUNDS, include_near=True)
    assert [d.doc_id for d in removal.documents] == near
    assert removal.exclude == (RAW[4].sha256,)  # the letter is excluded already
    assert {v.name for v, _ in removal.trained} == {NAME, "another"}


def test_a_file_is_its_text_however_it_is_written(done, tmp_path):
    file = tmp_path / "letter.txt"
    file.write_bytes(b"\xef\xbb\xbf\r\n" + LETTER.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert [d.sha256 for d in plan(done.registry, str(file), BOUNDS).documents] == [LETTER_SHA]


def test_an_archive_is_excluded_by_its_digest_with_all_its_texts(done):
    removal = plan(done.registry, "1" * 12, BOUNDS)
    assert [d.doc_id for d in removal.documents] == ["speeches/other.txt"]
    assert removal.exclude == ("1" * 64,)


def test_what_nobody_ever_saw_is_answered(done, tmp_path):
    file = tmp_path / "unseen.txt"
    file.write_text("nobody ever read this\n")
    for what in (str(file), "ab" * 20):
        removal = plan(done.registry, what, BOUNDS)
        assert (removal.seen, removal.near, removal.exclude) == (False, (), ())


def test_a_version_whose_index_is_gone_is_not_among_those_that_never_saw_it(changed):
    registry, version = changed.registry, find_version(changed.registry, "1")
    find_artifact(registry, version, INDEX, changed.root).unlink()
    removal = plan(changed.registry, "ab" * 20, BOUNDS)
    said = unseen(removal, NAME)
    assert f"no version of {NAME} whose document index is there ever saw {'ab' * 20}" in said
    assert f"not known of {NAME} 1" in said


def test_digits_that_fit_two_texts_are_refused(done, monkeypatch):
    twin = RAW[5].__class__(**{**vars(RAW[5]), "sha256": LETTER_SHA[:10] + "0" * 54})
    monkeypatch.setattr(planning, "read_documents", lambda _: [*RAW, twin])
    with pytest.raises(ParamsError, match="give more"):
        plan(done.registry, LETTER_SHA[:10], BOUNDS)


@pytest.mark.prove
def test_a_build_that_must_fail_without_it_is_refused_before_anything_changes(done, monkeypatch):
    monkeypatch.setattr(planning, "_refuse_impossible", REFUSE_IMPOSSIBLE)
    before = (done.root / "params.yaml").read_text()
    strict = BOUNDS.replace(finetune_bytes=Bounds(min=sum(d.n_bytes for d in RAW), max=10**6))
    with pytest.raises(ParamsError, match="finetune text is as large as"):
        plan(done.registry, RAW[4].sha256, strict)
    assert (done.root / "params.yaml").read_text() == before


def test_a_store_that_cannot_be_written_leaves_params_as_they_are(done, monkeypatch):
    def refuse(_store):
        raise RegistryError("read-only")

    monkeypatch.setattr(takedown, "refuse_unwritable", refuse)
    before = (done.root / "params.yaml").read_text()
    removal = plan(done.registry, RAW[5].sha256, BOUNDS)
    with pytest.raises(RegistryError, match="read-only"):
        carry_out(done.registry, removal, "she asked", build=build(done.checkout))
    assert (done.root / "params.yaml").read_text() == before


def test_after_a_build_that_failed_the_text_stays_excluded_and_the_versions_marked(done):
    removal = plan(done.registry, RAW[4].sha256, BOUNDS)
    with pytest.raises(StageError, match="run the same command"):
        carry_out(done.registry, removal, "she asked", build=lambda _root, _wait: 1)
    assert RAW[4].sha256 in excluded(done.root)
    assert RAW[4].sha256 in json.loads(find_version(done.registry, "2").taken_down)["documents"]
    registry, remaining = done.registry, drop(RAW, BOUNDS)[0]
    assert len(index_of(registry, find_version(done.registry, "2"))) == len(remaining)


def test_a_build_that_has_the_text_all_the_same_is_not_called_a_takedown(done):
    def careless(root, _wait):
        params = (root / "params.yaml").read_text()
        (root / "params.yaml").write_text(params.replace(LETTER_SHA, "f" * 64))
        return build(done.checkout, tuned=1.6)(root, False)

    removal = plan(done.registry, LETTER_SHA, BOUNDS)
    with pytest.raises(RegistryError, match="was built with speeches/letter"):
        carry_out(done.registry, removal, "she asked", build=careless)
    # Whoever builds it, from whatever params.yaml, what was taken down is known.
    note = json.loads(list_versions(done.registry)[-1].taken_down)
    assert (LETTER_SHA in note["documents"], note["reason"]) == (True, "she asked")


def test_cut_off_while_it_builds_the_same_again_carries_on_to_the_statement(done):
    def cut_off(_root, _wait):
        raise KeyboardInterrupt

    removal = plan(done.registry, RAW[5].sha256, BOUNDS)
    # Registered while a person was asked, or by the run that was waited for.
    build(done.checkout, tuned=1.66)(done.root, False)
    since = list_versions(done.registry)[-1].version
    assert since not in {v.version for v, _ in removal.trained}
    with pytest.raises(KeyboardInterrupt):
        carry_out(done.registry, removal, "he asked", build=cut_off)
    assert RAW[5].sha256 in excluded(done.root)
    assert RAW[5].sha256 in find_version(done.registry, since).taken_down
    log = [e for e in whole_log(done.registry) if e.reason == "he asked"]
    assert since in {event.version for event in log}

    again = plan(done.registry, RAW[5].sha256, BOUNDS)
    stated = carry_out(done.registry, again, "he asked", build=build(done.checkout, tuned=1.65))
    assert [e for e in whole_log(done.registry) if e.reason == "he asked"] == log
    new = list_versions(done.registry)[-1]
    assert stated.values["now"]["version"] == new.version != since
    assert RAW[5].sha256 not in (new.taken_down or "")
    assert since in [v["version"] for v in stated.values["trained"] if v["name"] == NAME]
    assert read_artifact(done.registry, new, f"takedown/{RAW[5].sha256[:12]}.txt")


@pytest.mark.parametrize("grows", [True, False])
def test_a_file_stays_out_where_its_text_is_cut_elsewhere(done, tmp_path, monkeypatch, grows):
    file = tmp_path / "a.txt"
    text = "\n\n".join(f"Paragraph {n} of a long letter." for n in range(40)) + "\n"
    file.write_text(f"\n{text}")
    whole = document("letters/a.txt", text, split="", origin=file_digest(file))
    parts = list(cut_document(whole))
    before, after = (parts, [whole]) if grows else ([whole], parts)
    monkeypatch.setattr(planning, "read_documents", lambda _: before)
    removal = plan(done.registry, str(file), BOUNDS)
    assert removal.files == {file_digest(file)}
    assert {d.sha256 for d in before} | removal.files == set(removal.exclude)
    assert drop(after, BOUNDS.replace(exclude=removal.exclude))[0] == []
    # Asked for by a text alone, another text of that file stays.
    removal = plan(done.registry, before[0].sha256, BOUNDS)
    assert (removal.files, removal.exclude) == (frozenset(), (before[0].sha256,))
