"""Who can write store or data makes no bad model champion (docs/threat-model.md)."""

import json
import random
import shutil

import pytest

from minigpt.data.document import Document, write_documents
from minigpt.digest import file_digest, text_digest
from minigpt.errors import GateRefusedError, RegistryError
from minigpt.evaluation.passages import FILE, write_passages
from minigpt.registry.artifacts import package_of
from minigpt.registry.config import GateConfig
from minigpt.registry.lineage.trace import Holding
from minigpt.registry.promotion.audit_log import HEAD
from minigpt.registry.promotion.history import log_of
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.refs import find_version, resolve
from minigpt.registry.takedown.revoke import revoke
from minigpt.registry.versions import DIGEST, TAKEN_DOWN, list_versions
from minigpt.release.document_index import INDEX
from minigpt.release.manifest import FileEntry, FileList, load_files
from minigpt.tracking.store import local_path
from tests.registry.checkout import passages
from tests.registry.logs import forget, whole_log
from tests.registry.promotions import NAME, add_files, champion, reseal

GATE = GateConfig(min_passages=20)
WORDS = [f"{a}{b}" for a in "bcdfglmnprst" for b in ("ara", "eto", "ilu", "ond", "usk", "yme")]


@pytest.fixture
def add(changed, tmp_path):
    """A function: register a version with these documents and figures, and version 1's model."""

    def add(documents=None, **figures):
        root = tmp_path / "built"
        shutil.copytree(changed.root, root, dirs_exist_ok=True)
        if documents:
            write_documents(root / "data/documents/documents.parquet", documents)
        type(changed)(root).build(**figures)
        return add_files(changed, root, tmp_path / "kept")

    return add


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


held_out = speech("held out")
COPIES = {
    "behind a foreword": [f"{speech('foreword', 40)} {held_out} {speech('after', 400)}"],
    "in pieces": [
        f"{speech(i, 200)} {' '.join(held_out.split()[60 * i : 60 * i + 60])}" for i in range(5)
    ],
    "in capitals": [held_out.upper()],
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
    client = changed.registry.store.client
    source = client.get_model_version_download_uri(NAME, taken_down.version)
    client.delete_model_version(NAME, taken_down.version)
    if name != NAME:
        client.create_registered_model(name)
    made = client.create_model_version(
        name, source, taken_down.run_id, tags={DIGEST: taken_down.digest},
        model_id=source.split("/")[-2],
    )  # fmt: skip
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
