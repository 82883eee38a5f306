"""Who can write store or data makes no bad model champion (docs/threat-model.md)."""

import json
import random
import shutil

import pytest
from mlflow.entities import Param

from minigpt.data.document import Document
from minigpt.digest import file_digest, text_digest
from minigpt.errors import GateRefusedError, RegistryError
from minigpt.evaluation.passages import FILE, write_passages
from minigpt.registry.artifacts import package_of
from minigpt.registry.config import GateConfig
from minigpt.registry.lineage.trace import Holding
from minigpt.registry.promotion.audit_log import HEAD
from minigpt.registry.promotion.gate import decide
from minigpt.registry.promotion.history import log_of
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.refs import find_version, resolve
from minigpt.registry.takedown.revoke import revoke
from minigpt.registry.versions import DIGEST, TAKEN_DOWN, list_versions
from minigpt.release.document_index import INDEX
from minigpt.release.manifest import FileEntry, FileList, load_files
from minigpt.tracking.store import local_path
from tests.registry.checkout import evaluation, passages
from tests.registry.logs import forget, whole_log
from tests.registry.promotions import NAME, champion, reseal

GATE = GateConfig(min_passages=20)
WORDS = [f"{a}{b}" for a in "bcdfglmnprst" for b in ("ara", "eto", "ilu", "ond", "usk", "yme")]


def speech(seed, words=300):
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(words))


def document(split, text, source="speeches", name=None):
    role = "pretrain" if source == "plays" else "finetune"
    return Document(
        doc_id=f"{source}/{name or split}", text=text, source=source, role=role, work=name or split,
        lang="en", licence="public domain", split=split, sha256=text_digest([text]), origin="-",
    )  # fmt: skip


def files_of(checkout, version):
    return local_path(checkout.registry.artifacts_uri(version.run_id))


def refusal(checkout, version, **options):
    with pytest.raises(GateRefusedError) as refused:
        promote(checkout.registry, version.version, GATE, **options)
    return str(refused.value)


def register_again(checkout, version, name):
    """The same version, deleted in MLflow and registered anew, with the model that it had."""
    client = checkout.registry.store.client
    source = client.get_model_version_download_uri(NAME, version.version)
    client.delete_model_version(NAME, version.version)
    if name != NAME:
        client.create_registered_model(name)
    return client.create_model_version(
        name, source, version.run_id, tags={DIGEST: version.digest},
        model_id=source.split("/")[-2],
    )  # fmt: skip


held_out = speech("held out")
COPIES = {
    "behind a foreword": [f"{speech('foreword', 40)} {held_out} {speech('after', 400)}"],
    "in pieces": [
        f"{speech(i, 200)} {' '.join(held_out.split()[60 * i : 60 * i + 60])}" for i in range(5)
    ],
    "in capitals": [held_out.upper()],
    "with soft hyphens": [held_out.replace("a", "a\u00ad")],
    "in full width": ["".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in held_out)],
    "with underscores": [held_out.replace(" ", "_")],
}


@pytest.mark.parametrize("how", COPIES)
def test_test_text_put_into_training_is_found_whatever_was_done_to_it(changed, add, how):
    tests = [document("test", held_out), document("test", speech("play"), "plays")]
    honest = [document("train", speech("own")), document("train", speech("other play"), "plays")]
    champion_of_it = add([*tests, *honest], tuned=1.8)
    promote(changed.registry, champion_of_it.version, GATE)
    copies = [document("train", text, name=f"c{i}") for i, text in enumerate(COPIES[how])]
    cheat = add([*tests, *honest, *copies], tuned=1.2)
    said = refusal(changed, cheat)
    assert "it was trained on 1 of the 2 documents: speeches/test (" in said
    better = add([*tests, *honest, document("train", speech("more"), name="more")], tuned=1.7)
    done = promote(changed.registry, better.version, GATE)
    [about] = [c.found for c in done.conditions if c.about == "evaluation set"]
    assert about == (
        "it was trained on none of the 2 documents, by digest, and by runs of 5 words on 0% of "
        "one at most"
    )


@pytest.fixture
def taken_down(changed, add):
    """A champion, and a version that learned from a text which was taken down; both registered."""
    promote(changed.registry, "1", GATE)
    documents = [document(s, f"{s} of mine") for s in ("train", "test")]
    version = add([*documents, document("test", "test", "plays")], tuned=1.5)
    text = Holding(version, "train", "speeches/train", documents[0].sha256)
    revoke(changed.registry, [(version, [text])], "its author asked")
    return find_version(changed.registry, version.version)


def test_the_log_knows_what_was_taken_down_though_the_tag_is_gone(changed, taken_down):
    client = changed.registry.store.client
    client.delete_model_version_tag(NAME, taken_down.version, TAKEN_DOWN)
    assert find_version(changed.registry, taken_down.version).taken_down is None
    assert "trained on a document taken down on" in refusal(changed, taken_down)
    with pytest.raises(GateRefusedError, match="its author asked"):
        rollback(changed.registry, taken_down.version)
    assert champion(changed) == "1"


@pytest.mark.parametrize("name", [NAME, "another-name"])
def test_what_was_taken_down_stays_so_under_another_number_and_name(changed, taken_down, name):
    made = register_again(changed, taken_down, name)
    with pytest.raises(GateRefusedError, match="its author asked"):
        promote(changed.registry, f"{name}/{made.version}", GATE)


def test_another_build_of_what_was_taken_down_is_refused_by_its_documents(changed, add, taken_down):
    client = changed.registry.store.client
    client.delete_model_version_tag(NAME, taken_down.version, TAKEN_DOWN)
    documents = [document(s, f"{s} of mine") for s in ("train", "test")]
    again = add([*documents, document("test", "test", "plays")], tuned=1.4)
    assert again.digest != taken_down.digest
    assert "taken down" in refusal(changed, again)


@pytest.mark.parametrize("damage", ["zeros", "cut", "another model's"])
def test_a_damaged_model_is_not_promoted_even_by_force(changed, add, damage):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.5)
    weights = package_of(changed.registry, version) / "model.safetensors"
    data = weights.read_bytes()
    spoilt = {
        "zeros": data[:-200] + bytes(200),
        "cut": data[:-200],
        "another model's": data[:-8] + bytes(8),
    }
    weights.write_bytes(spoilt[damage])
    for force in (False, True):
        with pytest.raises(RegistryError, match="models/finetuned cannot be used: it is not what"):
            promote(changed.registry, version.version, GATE, force=force, reason="I want it")
    with pytest.raises(RegistryError, match="models/finetuned cannot be used"):
        resolve(changed.registry, version.version)  # as `generate` does
    weights.write_bytes(data)
    promote(changed.registry, version.version, GATE)
    weights.write_bytes(spoilt[damage])
    with pytest.raises(RegistryError, match="models/finetuned cannot be used"):
        rollback(changed.registry, "1")  # it is version 1's model too
    assert champion(changed) == version.version


def relist(folder, name):
    """Have the list of files agree with what lies there now, as who forges would."""
    listed = load_files(folder / "release/files.json").files
    file = folder / name
    entry = FileEntry(path=name, size=file.stat().st_size, sha256=file_digest(file))
    others = [other for other in listed if other.path != name]
    files = FileList(files=[*others, entry])
    (folder / "release/files.json").write_text(json.dumps(files.model_dump()))


@pytest.mark.parametrize("name", [f"data/evaluation/{FILE}", "results/evaluate.json", INDEX])
def test_figures_and_documents_that_were_forged_with_their_list_are_refused(changed, add, name):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.9)
    folder, better = files_of(changed, version), add(tuned=1.2)
    shutil.copy(files_of(changed, better) / name, folder / name)
    if name == INDEX:
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    relist(folder, name)
    with pytest.raises(RegistryError, match="cannot be used"):
        promote(changed.registry, version.version, GATE)
    assert champion(changed) == "1"


def test_a_manifest_that_was_forged_too_is_not_the_one_that_names_the_version(changed, add):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.9)
    name = version.digest
    folder = files_of(changed, version)
    write_passages(folder / "data/evaluation", passages({"base": {}, "finetuned": {}}))
    reseal(changed.registry, version, f"data/evaluation/{FILE}")
    changed.registry.store.client.set_model_version_tag(NAME, version.version, DIGEST, name)
    with pytest.raises(RegistryError, match=r"release/manifest\.json cannot be used"):
        promote(changed.registry, version.version, GATE)


def test_a_version_that_could_never_be_replaced_is_refused(changed):
    gate = GateConfig(min_passages=26)
    with pytest.raises(GateRefusedError, match="its own evaluation set has 25 passages; at least"):
        promote(changed.registry, "1", gate)
    promote(changed.registry, "1", GATE)


def test_a_log_that_is_not_whole_refuses_a_promotion(changed, add):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.5)
    client = changed.registry.store.client
    [event] = whole_log(changed.registry)
    client.delete_run(event.run_id)
    assert "event 1 was deleted" in refusal(changed, version)


def test_the_newest_event_and_its_mark_deleted_together_are_missed(changed, add):
    promote(changed.registry, "1", GATE)
    for tuned in (1.6, 1.5):
        promote(changed.registry, add(tuned=tuned).version, GATE)
    forget(changed.registry, whole_log(changed.registry)[-1])
    changed.registry.store.client.delete_registered_model_tag(NAME, HEAD)
    assert log_of(changed.registry).problems == [
        "the mark of the newest event is gone: nobody can tell whether that is here"
    ]


def test_a_champion_that_nobody_promoted_is_said_without_a_log_too(changed):
    assert log_of(changed.registry).stray is None
    changed.registry.store.client.set_registered_model_alias(NAME, "champion", "1")
    assert "champion is version 1, not no version" in log_of(changed.registry).stray
    assert [v.version for v in list_versions(changed.registry)] == ["1"]


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_whoever_moves_the_alias_does_not_choose_the_opponent(changed, add, how):
    promote(changed.registry, "1", GATE)
    worse, between = add(tuned=2.3), add(tuned=2.1)
    client = changed.registry.store.client
    if how == "deleted":
        client.delete_registered_model_alias(NAME, "champion")
    else:
        client.set_registered_model_alias(NAME, "champion", worse.version)
    before = log_of(changed.registry).stray
    assert "speeches           2.10 against 1.80" in refusal(changed, between)
    assert log_of(changed.registry).stray == before is not None  # a refusal hides nothing
    done = promote(changed.registry, "1", GATE)
    assert "champion that the log names" in str(done.conditions)
    assert (champion(changed), log_of(changed.registry).stray) == ("1", None)


def test_a_taken_down_text_is_known_in_another_file(changed, add):
    promote(changed.registry, "1", GATE)
    text = document("train", "a text of mine")
    others = [document("test", "test of mine"), document("test", "test", "plays")]
    version = add([text, *others], tuned=1.5)
    holding = Holding(version, "train", text.doc_id, text.sha256, file="f" * 64)
    revoke(changed.registry, [(version, [holding])], "its author asked", files={"f" * 64})
    client = changed.registry.store.client
    client.delete_model_version_tag(NAME, version.version, TAKEN_DOWN)
    assert "taken down" in refusal(changed, add([text, *others], tuned=1.4))


def test_a_takedown_that_was_spoilt_hides_nothing_under_another_name(changed, taken_down):
    client = changed.registry.store.client
    client.delete_model_version_tag(NAME, taken_down.version, TAKEN_DOWN)
    [event] = [e for e in whole_log(changed.registry) if e.kind == "taken down"]
    client.log_batch(event.run_id, params=[Param("format.2", "x")])
    assert "a takedown in run" in refusal(changed, taken_down)


def test_what_was_rolled_back_stays_so_under_another_number(changed, add):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.5)
    promote(changed.registry, version.version, GATE)
    rollback(changed.registry, reason="it was rude")
    again = register_again(changed, version, NAME)
    assert "it was rude" in refusal(changed, find_version(changed.registry, str(again.version)))


def test_a_log_that_is_spoilt_during_a_promotion_refuses_it(changed, add, monkeypatch):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.5)
    [event] = whole_log(changed.registry)

    def decided(*arguments):
        changed.registry.store.client.delete_run(event.run_id)
        return decide(*arguments)

    monkeypatch.setattr("minigpt.registry.promotion.promote.decide", decided)
    with pytest.raises(RegistryError, match="the log was changed meanwhile"):
        promote(changed.registry, version.version, GATE)
    assert champion(changed) == "1"


@pytest.mark.parametrize("name", ["exports/hf/config.json", "models/base/model.safetensors"])
def test_whatever_of_a_version_is_damaged_it_is_not_promoted(changed, add, name):
    promote(changed.registry, "1", GATE)
    version = add(tuned=1.5)
    file = files_of(changed, version) / name
    file.write_bytes(bytes(len(file.read_bytes())))
    with pytest.raises(RegistryError, match=f"{name} cannot be used: it is not what"):
        promote(changed.registry, version.version, GATE)


def test_figures_that_are_not_those_of_the_passages_are_refused(changed, add, monkeypatch):
    """As after an edit of passages.parquet and `dvc commit`: the manifest itself covers them."""
    promote(changed.registry, "1", GATE)
    monkeypatch.setattr(
        "tests.registry.checkout.passages", lambda _: passages(evaluation(tuned=1.2))
    )
    with pytest.raises(RegistryError, match="its figure of speeches is not that of the passages"):
        promote(changed.registry, add(tuned=1.9).version, GATE)
