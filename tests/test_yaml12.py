"""params.yaml is read as DVC reads it, or refused."""

import math
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from minigpt.yaml12 import YamlError, read_yaml

WORDS = [
    *("yes", "no", "on", "off", "y", "true", "False", "null", "~", "", "<<", "=", "-", ".", "_"),
    *(
        "012",
        "08",
        "0o17",
        "0o8",
        "0x1F",
        "0b101",
        "0b_",
        "1_000",
        "-_",
        "+12",
        "1:30",
        "1__",
        "-0",
    ),
    *("1e3", "1.e3", ".5", ".5e3", ".5e+3", "1.5_0", "-.inf", ".nan", "1e999", "6.8523015e+5"),
    *("2024-01-01", "2024-1-1", "2024-01-01T00:00:00Z", "2024-01-01x", "a b", "http://x", "'012'"),
    *(
        '"\\t"',
        "*x",
        "&x 1",
        "!!str 1",
        "!x y",
        "[1, 2]",
        "{a: 1}",
        "|\n  a\n  b\n",
        ">-\n  a\n  b\n",
    ),
]
LINES = st.one_of(
    st.sampled_from(WORDS).map(lambda word: f"a: {word}"),
    st.tuples(st.sampled_from("abcd"), st.sampled_from(WORDS)).map(": ".join),
    st.sampled_from(
        ["b: &y {c: 1}", "d: {<<: *y, e: 2}", "- 1", "---", "...", "# a", "  f: 1", "a:"]
    ),
    st.text(alphabet="ab01-:.,[]{}&*!#|>'\"%@? \n", max_size=12),
)


def by_dvc(text):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an anchor used twice
        return YAML(typ="safe").load(text)


def refused_or_the_same(text):
    """By one of the two it is refused, or both give the same values."""
    try:
        mine = read_yaml(text)
    except YamlError:
        return
    try:
        theirs = by_dvc(text)
    except Exception:  # noqa: BLE001 (of any kind: DVC then refuses the file)
        return
    assert equal(mine, theirs)


@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_what_dvc_takes_it_for(word):
    refused_or_the_same(f"a: {word}")


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.lists(LINES, max_size=6).map("\n".join))
def test_a_text_is_what_dvc_takes_it_for_or_refused(text):
    refused_or_the_same(text)


def equal(mine, theirs):
    if isinstance(mine, float) and math.isnan(mine):
        return isinstance(theirs, float) and math.isnan(theirs)
    if isinstance(mine, dict) and isinstance(theirs, dict):
        return mine.keys() == theirs.keys() and all(equal(mine[k], theirs[k]) for k in mine)
    if isinstance(mine, list) and isinstance(theirs, list):
        return len(mine) == len(theirs) and all(map(equal, mine, theirs))
    return type(mine) is type(theirs) and mine == theirs
