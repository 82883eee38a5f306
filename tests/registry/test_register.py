import json
import os
import sqlite3
import subprocess
import sys
import sysconfig
from dataclasses import replace

import pyarrow.parquet as pq
import pytest
import yaml

from minigpt import digest as digest_module
from minigpt.data.document import in_order, read_documents, write_documents
from minigpt.digest import MEMORY, file_digest, remembered, text_digest
from minigpt.errors import RegistryError
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.versions import TAKEN_DOWN, list_versions
from minigpt.release.document_index import INDEX
from minigpt.tracking import open_journal
from minigpt.tracking.journal import RUNS, journals
from minigpt.tracking.store import local_path
from tests.registry.logs import whole_log

NAME = "minigpt-test"

LOAD = """
import sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
params = {"max_tokens": 5, "seed": 3}
first, second = model.predict(["To be", "or not"], params=params)
assert model.predict(["To be", "or not"], params=params) == [first, second]
assert len(model.predict(["To be"], params={"max_tokens": 200})[0]) > len(first) > 0
import minigpt
print(minigpt.__file__)
"""


@pytest.fixture(scope="module")
def registry(registered):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return registered.registry


def artifacts(registry, version):
    return local_path(registry.store.client.get_run(version.run_id).info.artifact_uri)


def test_what_is_held_is_not_registered_again(changed):
    [before] = list_versions(changed.registry)
    assert register(changed.registry) == before
    assert list_versions(changed.registry) == [before]
    assert (before.version, before.aliases) == ("1", ("challenger",))


def test_a_damaged_list_of_files_is_refused_before_anything_is_registered(changed):
    changed.build(tuned=1.7)
    (changed.root / "release" / "files.json").write_text("{")
    with pytest.raises(RegistryError, match=r"files\.json is cut off.*Run: dvc repro manifest"):
        register(changed.registry)
    assert len(list_versions(changed.registry)) == 1


def test_another_manifest_is_another_version(changed):
    changed.build(tuned=1.7)
    version = register(changed.registry)
    assert (version.version, version.aliases, version.bits_per_byte) == ("2", ("challenger",), 1.7)
    assert [v.aliases for v in list_versions(changed.registry)] == [(), ("challenger",)]


def test_a_version_that_learned_from_what_was_taken_down_before_is_marked(changed):
    texts = [text_digest(["train"]), text_digest(["another"])]
    tag = {"documents": texts, "reason": "they asked; twice", "at": "2026-01-02T03:04:05+00:00"}
    client = changed.registry.store.client
    client.set_model_version_tag(NAME, "1", TAKEN_DOWN, json.dumps(tag))
    changed.build(tuned=1.7)
    marked = json.loads(register(changed.registry).taken_down)
    assert marked == tag | {"documents": texts[:1]}
    client.delete_model_version_tag(NAME, "2", TAKEN_DOWN)  # as if cut off before it was marked
    assert json.loads(register(changed.registry).taken_down) == marked
    assert json.loads(register(changed.registry).taken_down) == marked
    [event] = [e for e in whole_log(changed.registry) if e.kind == "taken down"]
    assert (event.version, event.reason) == ("2", "inherited: they asked; twice")
    assert {condition.found for condition in event.conditions} == {
        f"{source}/train (sha256 {texts[0]})" for source in ("plays", "speeches")
    }


def test_a_version_inherits_the_mark_of_a_file_whose_text_is_cut_elsewhere(changed):
    file, digest = "f" * 64, text_digest(["of the whole, which no longer is a document"])
    tag = {"documents": [digest], "files": [file], "reason": "asked", "at": "2026-01-02T03:04:05"}
    client = changed.registry.store.client
    client.set_model_version_tag(NAME, "1", TAKEN_DOWN, json.dumps(tag))
    documents = read_documents(changed.root / "data/documents")
    part = replace(documents[0], doc_id="letters/a.txt", split="train", origin=f"{file}:a.txt")
    part = replace(part, text="the first part\n", sha256=text_digest(["the first part"]))
    test_part = replace(
        part, doc_id="letters/a.txt (test)", split="test", sha256=text_digest(["held"])
    )
    documents = in_order([*documents, part, test_part])
    write_documents(changed.root / "data/documents/documents.parquet", documents)
    changed.build(tuned=1.7)
    marked = json.loads(register(changed.registry).taken_down)
    assert marked == tag | {"documents": [part.sha256]}


def test_where_nobody_can_tell_whether_a_mark_is_inherited_that_is_an_error(changed):
    changed.build(tuned=1.7)
    registry, version = changed.registry, register(changed.registry)
    (artifacts(registry, version) / INDEX).unlink()
    assert register(changed.registry) == version  # nothing was taken down
    tag = {"documents": ["f" * 64], "reason": "asked", "at": "2026-01-02T03:04:05+00:00"}
    registry.store.client.set_model_version_tag(NAME, "1", TAKEN_DOWN, json.dumps(tag))
    with pytest.raises(RegistryError, match=r"test 2: its release/documents\.parquet is gone"):
        register(changed.registry)


def test_a_version_holds_what_it_is_made_of(registered, registry):
    [version] = list_versions(registered.registry)
    folder = artifacts(registry, version)
    paths = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {
        "models/base/model.safetensors",
        "exports/hf/config.json",
        "metrics/evaluate.json",
        "release/manifest.json",
        "release/files.json",
        "params.yaml",
        "dvc.yaml",
        "dvc.lock",
        "release/documents.parquet",
        "data/evaluation/passages.parquet",
        "README.md",
    } <= paths
    assert "data/documents/documents.parquet" not in paths  # the texts stay where they are
    assert "source.patch" not in paths
    index = pq.read_table(folder / INDEX)
    assert index.num_rows == 6
    assert {"doc_id", "sha256", "source", "work", "split"} <= set(index.column_names)


def test_the_card_states_data_figures_and_origin(registered, registry):
    [version] = list_versions(registered.registry)
    card = (artifacts(registry, version) / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---\n")[1])
    assert metadata["model-index"][0]["results"][1]["metrics"][0]["value"] == 1.8
    assert metadata["language"] == ["en"]
    for fact in ("public domain", "ngram", version.commit, version.digest, "1, 1, 1"):
        assert fact in card
    entry = registry.store.client.get_model_version(NAME, version.version)
    assert "## Limits" in entry.description


def test_a_version_works_where_the_checkout_is_not(registered, tmp_path):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": sysconfig.get_path("purelib"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{registered.root}/mlflow.db",
    }
    command = [sys.executable, "-S", "-c", LOAD, f"models:/{NAME}@challenger"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    file = done.stdout.splitlines()[-1]
    assert file.startswith(f"{registered.root}/mlruns/")
    assert "WARNING" not in done.stderr


def test_a_tree_that_differs_is_kept_as_a_patch(changed):
    (changed.root / "stages" / "pretrain.py").write_text("# edited\n")
    (changed.root / "stages" / "new.py").write_text("# new\n")
    (changed.root / "notes.txt").write_text("no input of any stage")
    changed.build(tuned=1.6)
    version = register(changed.registry)
    registry = changed.registry
    patch = (artifacts(registry, version) / "source.patch").read_text()
    assert version.dirty
    assert "+# edited" in patch
    assert "+# new" in patch
    assert "notes.txt" not in patch
    assert "metrics/evaluate.json" not in patch
    assert "results/evaluate.json" not in patch
    status = subprocess.run(
        ["git", "status", "--short"], cwd=changed.root, capture_output=True, text=True, check=True
    ).stdout
    assert "?? stages/new.py" in status  # the index of the user is as it was


def test_results_alone_leave_a_tree_clean(changed):
    changed.build(tuned=1.5)
    (changed.root / "dvc.lock").write_text("changed: true")
    assert not register(changed.registry).dirty


def test_a_version_lies_under_the_run_that_asked(changed):
    journal = open_journal(changed.root, "pipeline")
    changed.build(tuned=1.4)
    version = register(changed.registry, journal.id)
    client = changed.registry.store.client
    run = client.get_run(version.run_id)
    assert client.get_run(run.data.tags["mlflow.parentRunId"]).info.run_name == "pipeline"
    assert run.data.metrics["evaluate/finetuned/speeches/bits_per_byte"] == 1.4
    assert run.data.params["model.n_layer"] == "1"


def test_an_output_that_changed_since_is_refused(changed):
    (changed.root / "models" / "base" / "model.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"models/base is not what .* Run: dvc repro"):
        register(changed.registry)


def test_a_remembered_digest_registers_nothing(changed):
    changed.build(tuned=1.7)
    path = changed.root / "models" / "base" / "model.json"
    before = file_digest(path)
    path.write_text("{}")
    (changed.root / MEMORY).parent.mkdir()
    with remembered(changed.root):
        pass
    with sqlite3.connect(changed.root / MEMORY) as memory:
        looks = digest_module._looks(path)[0]
        memory.execute("insert into files values (?, ?, ?)", (str(path.absolute()), looks, before))
    with remembered(changed.root) as of_file:
        assert of_file(path) == before  # a lie that is believed
    with pytest.raises(RegistryError, match=r"models/base is not what .* Run: dvc repro"):
        register(changed.registry)
    assert len(list_versions(changed.registry)) == 1


def test_a_lock_file_that_is_gone_is_said_and_nothing_registered(changed):
    changed.build(tuned=1.3)
    (changed.root / "dvc.lock").unlink()
    with pytest.raises(RegistryError, match=r"dvc\.lock is gone.* Run: dvc repro"):
        register(changed.registry)
    assert len(list_versions(changed.registry)) == 1


def test_nothing_built_is_said(tmp_path):
    with pytest.raises(RegistryError, match=r"manifest\.json is not there"):
        register(Registry(tmp_path, NAME))


def test_a_folder_without_git_is_refused_and_nothing_registered(changed):
    changed.build(tuned=1.3)
    (changed.root / ".git").rename(changed.root / "elsewhere")
    with pytest.raises(RegistryError, match="git init"):
        register(changed.registry)
    assert len(list_versions(changed.registry)) == 1


def test_what_waits_is_delivered_though_the_build_is_refused(changed):
    journal = open_journal(changed.root, "pretrain", "pretrain")
    journal.close()
    (changed.root / "metrics" / "evaluate.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"is not what release/manifest.json describes"):
        register(changed.registry)
    assert journals(changed.root / RUNS) == []
