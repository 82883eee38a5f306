"""A preset is the defaults plus a few differences, written so that it reads back as it was."""

import shutil
from pathlib import Path

import pytest
import yaml

from minigpt.errors import ParamsError
from minigpt.params import load_params
from minigpt.presets import flow, load_preset, local_preset, preset_names, write_params

ROOT = Path(__file__).parents[1]


@pytest.fixture
def root(tmp_path):
    """A folder with the presets of this checkout."""
    shutil.copytree(ROOT / "presets", tmp_path / "project" / "presets")
    return tmp_path / "project"


@pytest.mark.parametrize("name", preset_names(ROOT))
def test_what_is_written_reads_back_the_same(root, name):
    params = load_preset(root, name)
    write_params(root, params, name)
    assert load_params(type(params), root / "params.yaml") == params


@pytest.mark.parametrize(
    "value", [["texts/[a-z]*.txt", "{a}"], ["a, b", "x: y", "x #y"], ["*.txt", "yes", "1.0", ""]]
)
def test_any_word_in_a_list_reads_back_the_same(value):
    assert yaml.safe_load(f"key: {flow(value)}") == {"key": value}


@pytest.mark.parametrize(
    ("folder", "name"),
    [("My letters", "my-letters"), ("Notes (2)", "notes-2"), ("тексты", "тексты")],
)
def test_a_folder_of_any_name_becomes_a_source(root, tmp_path, folder, name):
    text = tmp_path / folder / "a" / "first.txt"
    text.parent.mkdir(parents=True)
    text.write_text("Some text.\n")
    params = local_preset(root, tmp_path / folder)
    assert params.roles[name] == "finetune"
    assert params.release.name == f"minigpt-{name}"
    assert (root / "data" / "local" / name / "a" / "first.txt").read_text() == "Some text.\n"


def test_a_text_deleted_from_the_folder_is_no_longer_a_source(root, tmp_path, capsys):
    folder = tmp_path / "letters"
    folder.mkdir()
    for name in ("kept.txt", "deleted.txt"):
        (folder / name).write_text("Some text.\n")
    local_preset(root, folder)
    (folder / "deleted.txt").unlink()
    local_preset(root, folder)
    copies = root / "data" / "local" / "letters"
    assert sorted(path.name for path in copies.iterdir()) == ["kept.txt"]
    assert "no longer holds: 1 files" in capsys.readouterr().err


def test_a_folder_with_the_name_of_the_pretraining_source_is_refused(root, tmp_path):
    (tmp_path / "shakespeare").mkdir()
    (tmp_path / "shakespeare" / "mine.txt").write_text("Not his.\n")
    with pytest.raises(ParamsError, match="rename the folder"):
        local_preset(root, tmp_path / "shakespeare")
    assert not (root / "data").exists()


def test_edits_stay_where_git_cannot_be_asked(root, monkeypatch):
    write_params(root, load_preset(root, "tiny"), "tiny")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ParamsError, match="edits that git does not hold"):
        write_params(root, load_preset(root, "shakespeare"), "shakespeare")
