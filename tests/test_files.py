"""Outputs are whole or not there, and the same value gives the same bytes."""

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import DataError
from minigpt.files import full_disk, new_folder, rounded, to_json, write_json, write_text

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(items=st.dictionaries(st.text(), VALUES))
def test_the_order_of_keys_does_not_reach_the_bytes(items):
    assert to_json(items) == to_json(dict(reversed(items.items())))


def test_a_number_that_json_has_no_word_for_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        to_json({"loss": float("nan")})


@given(number=st.floats(min_value=1e-300, max_value=1e300))
def test_rounding_keeps_six_significant_digits(number):
    assert rounded({"a": [number]})["a"][0] == pytest.approx(number, rel=1e-5)


def test_rounding_leaves_whole_numbers_and_words_alone():
    assert rounded({"steps": 1_234_567_890, "name": "tiny", "done": True}) == {
        "steps": 1_234_567_890,
        "name": "tiny",
        "done": True,
    }


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert path.read_text() == to_json({"a": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_folder_takes_its_name_only_when_the_block_ends_well(tmp_path):
    out = tmp_path / "out"

    def fill_and_fail():
        with new_folder(out) as folder:
            write_text(folder / "half", "half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fill_and_fail()
    assert list(tmp_path.iterdir()) == []
    with new_folder(out) as folder:
        write_text(folder / "whole", "whole")
    assert [p.name for p in out.iterdir()] == ["whole"]


def test_a_full_disk_is_said_in_words(tmp_path):
    with pytest.raises(DataError, match="No space left on device"), full_disk(tmp_path):
        raise OSError(errno.ENOSPC, "x")
