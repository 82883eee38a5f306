"""What a version is made of."""

import hashlib
import json
from pathlib import Path

import pytest

from minigpt.digest import digest
from minigpt.errors import DataError, RegistryError
from minigpt.release.manifest import load_files, load_manifest, manifest, manifest_digest

INPUTS = [Path("models/base"), Path("metrics/pretrain.json")]


@pytest.fixture
def root(tmp_path):
    base = ("models/base/model.safetensors", "models/base/model.json")
    for name in (*base, "metrics/pretrain.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def write(root, run, inputs=INPUTS):
    release = root / "release"
    manifest(root, inputs, release / "manifest.json", release / "files.json", run)
    return release / "manifest.json", release / "files.json"


def test_it_holds_the_digest_of_every_input(root, run):
    path, _ = write(root, run)
    assert load_manifest(path).digests == {str(name): digest(root / name) for name in INPUTS}


def test_outputs_on_the_way_are_listed_but_do_not_name_a_version(root, run):
    before = manifest_digest(write(root, run)[0])
    (root / "data" / "raw").mkdir(parents=True)
    (root / "data" / "raw" / "documents.parquet").write_text("raw")
    path, files = write(root, run, [*INPUTS, Path("data/raw")])
    assert manifest_digest(path) == before
    assert "data/raw/documents.parquet" in {entry.path for entry in load_files(files).files}


def test_an_output_of_nothing_but_folders_is_listed_folder_by_folder(root, run):
    for name in ("exports/onnx/model.onnx", "exports/hf/config.json"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(name)
    (root / "exports" / ".DS_Store").write_text("")
    path, _ = write(root, run, [*INPUTS, Path("exports")])
    names = [*INPUTS, Path("exports/hf"), Path("exports/onnx")]
    assert load_manifest(path).digests == {str(name): digest(root / name) for name in names}


def test_its_own_digest_is_its_files(root, run):
    path, _ = write(root, run)
    assert manifest_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_files_lists_every_file_with_size_and_sha256(root, run):
    _, path = write(root, run)
    entries = {entry.path: entry for entry in load_files(path).files}
    assert list(entries) == [
        "metrics/pretrain.json",
        "models/base/model.json",
        "models/base/model.safetensors",
    ]
    entry = entries["models/base/model.json"]
    assert entry.size == len("models/base/model.json")
    assert entry.sha256 == hashlib.sha256(b"models/base/model.json").hexdigest()


def test_order_of_inputs_and_place_of_the_project_do_not_matter(root, run, tmp_path_factory):
    first = [path.read_bytes() for path in write(root, run)]
    elsewhere = root.rename(tmp_path_factory.mktemp("elsewhere") / "moved")
    assert [path.read_bytes() for path in write(elsewhere, run, INPUTS[::-1])] == first


def test_a_changed_byte_is_another_version(root, run):
    before = manifest_digest(write(root, run)[0])
    (root / "models/base/model.json").write_text("models/base/model.jsoN")
    assert manifest_digest(write(root, run)[0]) != before


@pytest.mark.parametrize("name", ["models/none", "models/empty"])
def test_a_missing_or_empty_input_is_refused(root, run, name):
    (root / "models/empty").mkdir()
    with pytest.raises(DataError, match=f"{name}: there is nothing to list"):
        write(root, run, [Path(name)])
    assert not (root / "release").exists()


def test_an_input_outside_of_the_project_is_refused(root, run, tmp_path_factory):
    with pytest.raises(DataError, match="lies outside of"):
        write(root, run, [tmp_path_factory.mktemp("other").parent])


def test_a_missing_manifest_says_what_to_run(tmp_path):
    with pytest.raises(RegistryError, match="dvc repro manifest"):
        load_manifest(tmp_path / "manifest.json")


def test_another_format_is_refused(tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"format": 2, "digests": {}}))
    with pytest.raises(RegistryError, match="format"):
        load_manifest(path)


@pytest.mark.parametrize("load", [load_manifest, load_files])
def test_one_that_was_cut_off_is_said_in_our_words_with_what_mends_it(root, run, load):
    path = write(root, run)[load is load_files]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RegistryError) as refusal:
        load(path)
    assert str(refusal.value) == (
        f"{path} is cut off or damaged: it holds no JSON. Run: dvc repro manifest"
    )
    with pytest.raises(RegistryError, match=r"\. Put it back$"):
        load(path, "Put it back")
