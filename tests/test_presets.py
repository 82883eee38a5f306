"""A preset is the defaults plus a few differences, written so that it reads back as it was."""

import shutil
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from minigpt.errors import ParamsError
from minigpt.git import run_git
from minigpt.params import load_params
from minigpt.presets import (
    entry,
    flow,
    load_preset,
    preset_names,
    with_exclusions,
    write_params,
)

AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost")

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
    with (root / "params.yaml").open("a") as file:
        file.write("# mine\n")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ParamsError, match="edits that git does not hold"):
        write_params(root, load_preset(root, "shakespeare"), "shakespeare")


@pytest.mark.parametrize("broken", [b"<<<<<<< HEAD\n", b"\xff", b"validate: 3\n", None])
def test_what_was_taken_down_stays_out_where_params_cannot_be_read(root, broken, capsys):
    out = "ab" * 32
    params = load_preset(root, "tiny")
    excluding = params.validation.replace(exclude=(out,))
    write_params(root, params.replace(validate=excluding), "tiny")
    for command in (["init", "-q"], ["add", "params.yaml"], [*AUTHOR, "commit", "-qm", "start"]):
        assert run_git(root, *command).returncode == 0
    path = root / "params.yaml"
    path.unlink() if broken is None else path.write_bytes(broken)
    assert with_exclusions(root, params).validation.exclude == (out,)
    shutil.rmtree(root / ".git")
    assert with_exclusions(root, params).validation.exclude == ()
    assert ("is not carried over" in capsys.readouterr().err) == (broken is not None)


@pytest.mark.parametrize("text", ["model: [", "- a", "seed: !!timestamp soon", "[" * 3000])
def test_a_preset_that_is_no_yaml_is_named(tmp_path, text):
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets" / "mine.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"presets/mine\.yaml: not YAML, or no sections: [^\n]+$"):
        load_preset(tmp_path, "mine")
