"""Outputs are whole or not there, and the same value gives the same bytes."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import DataError
from minigpt.files import (
    abandoned,
    new_file,
    new_folder,
    rounded,
    temporary,
    to_json,
    write_json,
    write_text,
    writing,
)

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
    with pytest.raises(DataError, match="No space left on device"), writing(tmp_path):
        raise OSError(errno.ENOSPC, "x")


def test_what_a_block_cannot_read_is_not_said_to_be_unwritable(tmp_path):
    unreadable, out = tmp_path / "text", tmp_path / "out"
    unreadable.mkdir()
    said = r"text: Is a directory\. .*out was not written"
    with pytest.raises(DataError, match=said), new_file(out) as file:
        file.write(unreadable.read_bytes())
    assert not out.exists()


def test_a_network_that_fails_in_a_block_that_writes_stays_what_it_is(tmp_path):
    with pytest.raises(ConnectionResetError), new_folder(tmp_path / "out"):
        raise ConnectionResetError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize("write", [write_text, lambda path, text: write_text(path / "a", text)])
def test_what_may_not_be_written_is_named(tmp_path, write):
    place = tmp_path / "file"
    place.write_text("a file where a folder is wanted")
    path = place / "inside" if write is write_text else place
    with pytest.raises(DataError, match=r"cannot write: .*file"):
        write(path, "text")


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "shared"
    with new_file(path) as first, new_file(path) as second:
        first.write(b"a" * 10)
        second.write(b"b" * 5)
    assert path.read_bytes() == b"a" * 10
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_folder_do_not_mix(tmp_path):
    out = tmp_path / "shared"
    with new_folder(out) as first, new_folder(out) as second:
        write_text(first / "first", "1")
        write_text(second / "second", "2")
    assert [path.name for path in out.iterdir()] == ["first"]
    assert list(tmp_path.iterdir()) == [out]


def left_by_a_killed_writer(path: Path) -> Path:
    code = "import os, sys; from minigpt.files import *; p = temporary(Path(sys.argv[1]))"
    code += "; p.write_text('half'); print(p); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    return Path(done.stdout.strip())


def test_what_a_killed_writer_left_is_removed_and_a_living_one_s_is_not(tmp_path):
    path = tmp_path / "a[1].json"
    half, living = left_by_a_killed_writer(path), temporary(path)
    living.write_text("at work")
    assert abandoned(path) == [half]
    write_text(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, living])


def test_what_another_machine_left_is_removed_a_day_later(tmp_path):
    path = tmp_path / "a"
    theirs = tmp_path / ".a.0123abcd-1-0.part"
    theirs.write_text("half")
    assert abandoned(path) == []
    yesterday = time.time() - 25 * 3600
    os.utime(theirs, (yesterday, yesterday))
    assert abandoned(path) == [theirs]
