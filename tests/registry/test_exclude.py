"""validate.exclude gains a digest; every other byte of params.yaml stays."""

import subprocess
from pathlib import Path

import pytest
import yaml

from minigpt.errors import ParamsError
from minigpt.params import Params
from minigpt.presets import load_preset, to_yaml, with_exclusions
from minigpt.registry.takedown.exclude import exclude, excluded, with_excluded

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
DECIMAL = "123456789012"


def lines_that_differ(one, other):
    return [line for line in other.splitlines() if line not in one.splitlines()]


def test_comments_and_edits_stay_and_the_form_is_the_presets():
    text = "# mine\n" + "\n".join(to_yaml(Params())) + "\nown: edit  # kept\n"
    once = with_excluded(text, [A])
    assert lines_that_differ(text, once) == [f"  exclude: [{A}]"]
    twice = with_excluded(once, [B, C])
    assert lines_that_differ(once, twice) == ["  exclude:", *(f"    - {d}" for d in (A, B, C))]
    params = Params.model_validate(
        yaml.safe_load(once)["validate"] and {"validate": {"exclude": [A]}}
    )
    assert f"  exclude: [{A}]" in "".join(to_yaml(params))
    assert twice.endswith("own: edit  # kept\n")
    assert twice.startswith("# mine\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "seed: 1",
        "validate:\n  max_documents: 5  # few\nseed: 1\n",
        "validate:\n  exclude: []  # none yet\n  max_documents: 5\n",
        "validate:\n  exclude:\n  max_documents: 5\n",
        "validate:\n  exclude:\n  - bbbbbbbbbbbb  # the letter\n\n  # few\n  max_documents: 5\n",
        "validate:\n    exclude: [\n      bbbbbbbbbbbb,\n    ]\nseed: 1\n",
        "validate:\r\n  exclude: []\r\nseed: 1\r\n",
        "seed: 1\nvalidate:\n  exclude: [bbbbbbbbbbbb]",
    ],
)
def test_however_it_was_written_only_the_list_changes(text):
    values = yaml.safe_load(text) or {}
    before = (values.get("validate") or {}).get("exclude") or []
    changed = with_excluded(text, [A, DECIMAL])
    values["validate"] = (values.get("validate") or {}) | {"exclude": [*before, A, DECIMAL]}
    assert yaml.safe_load(changed) == values
    for comment in ("# few", "# none yet", "# the letter"):
        assert (comment in changed) == (comment in text)
    assert ("\r\n" in changed) == ("\r\n" in text)
    assert changed.replace("\r\n", "").count("\r") == 0
    assert with_excluded(changed, [A]) == changed


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("behind", ["", "\n", "\n\n  # few\n  max_documents: 5\n"])
def test_each_comment_stays_with_its_item(newline, behind):
    before = f"validate:\n  exclude:\n    # asked by the family\n    - '{A}'  # letter 3"
    text = (before + behind).replace("\n", newline)
    changed = with_excluded(text, [A, B, C])
    assert changed == (f"{before}\n    - {B}\n    - {C}{behind}").replace("\n", newline)


def test_a_comment_behind_a_list_that_grows_over_its_line_stays_with_the_key():
    text = f"validate:\n  exclude: [{A}]  # asked by the family\n"
    assert with_excluded(text, [B]) == (
        f"validate:\n  exclude:  # asked by the family\n    - {A}\n    - {B}\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        f"validate:\n  exclude: [\n    {A},  # letter 3\n  ]\n",
        f"validate:\n  exclude: []\n  exclude: [{A}]\n",
    ],
)
def test_a_form_that_cannot_be_added_to_is_refused_and_the_file_stays(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ParamsError, match="by hand") as refused:
        exclude(tmp_path, [B])
    assert f"exclude: [{A}, {B}]" in str(refused.value)
    assert path.read_text() == text
    assert excluded(tmp_path) == (A,)


def test_a_section_in_braces_gains_the_list():
    changed = with_excluded("validate: {max_documents: 5}\nseed: 1  # mine\n", [A])
    assert changed == f"validate: {{exclude: [{A}], max_documents: 5}}\nseed: 1  # mine\n"


def committed() -> list[str]:
    """params.yaml as it is in git, and as each preset is written."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        ["git", "ls-files", "-z", "*params.yaml"], cwd=root, capture_output=True, check=True
    )
    paths = [root / name for name in filter(None, done.stdout.decode().split("\0"))]
    presets = [load_preset(root, name) for name in ("shakespeare", "tiny")]
    return [path.read_text("utf-8") for path in paths] + [
        "\n".join(to_yaml(params)) + "\n" for params in presets
    ]


@pytest.mark.parametrize("text", committed())
def test_of_a_params_file_in_the_form_of_presets_one_line_changes(text):
    assert "  exclude: []" in text
    assert with_excluded(text, [A]).replace(f"  exclude: [{A}]", "  exclude: []") == text


@pytest.mark.parametrize(
    "text", ["x: 1e-3\ny: 0o14\nz: 014\nw: 1_000\nv: yes\nd: 2020-01-01\ne: null\n", "# mine\n", ""]
)
def test_what_stands_beside_the_section_keeps_its_form(text):
    assert with_excluded(text, [A]).startswith(text)


def test_another_preset_keeps_what_is_excluded_and_mends_what_cannot_be_read(tmp_path):
    path, params = tmp_path / "params.yaml", Params()
    path.write_text(f"validate: {{exclude: [{A}]}}\n")
    assert with_exclusions(tmp_path, params).validation.exclude == (A,)
    for text in ("", "validate: [", "validate:", "validate: {exclude: [x]}", "\xff"):
        path.write_text(text, encoding="latin-1")
        assert with_exclusions(tmp_path, params) == params
    path.unlink()
    assert with_exclusions(tmp_path, params) == params
