"""A preset is the defaults plus a few differences, written so that it reads back as it was."""

import shutil
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from minigpt.errors import ParamsError
from minigpt.params import load_params
from minigpt.presets import entry, flow, load_preset, preset_names, write_params

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
    "word",
    ["2023", "no", "null", "1e3", "0o17", "0x1F", ".inf", "-", "~", "a: b", "#", "é", "👋",
     "\u2028", "\x85", "-x", "'", '"', "?", "!x", "*x", "&x", "%x", "@x", "`x", " x ", "1_000",
     "2023-01-01", "y", "=", "<<", "{", "]", "a\tb"],
)  # fmt: skip
def test_any_word_reads_back_as_it_is_by_either_yaml(word):
    for text, value in (
        (f"key: {flow(word)}", {"key": word}),
        (f"key: {flow([word])}", {"key": [word]}),
        (entry(word, 1, None, ""), {word: 1}),
        (f"key: {flow({word: word})}", {"key": {word: word}}),
    ):
        assert yaml.safe_load(text) == value
        assert YAML(typ="safe").load(text) == value  # as DVC reads it


def test_edits_stay_where_git_cannot_be_asked(root, monkeypatch):
    write_params(root, load_preset(root, "tiny"), "tiny")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ParamsError, match="edits that git does not hold"):
        write_params(root, load_preset(root, "shakespeare"), "shakespeare")
