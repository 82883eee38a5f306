"""Bytes to characters, text to stop strings, wherever either is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.generation.text import Characters, Stops, first_of, longest_beginning


def characters(pieces):
    """What is given out a piece, and at the end."""
    decoder = Characters()
    return [*(decoder.feed(piece) for piece in pieces), decoder.end()]


def until(stops, pieces):
    """The same of text up to a stop string."""
    filtered = Stops(stops)
    return [*(filtered.feed(piece) for piece in pieces), filtered.end()]


@given(text=st.text(), size=st.integers(1, 5))
def test_characters_are_whole_wherever_the_bytes_are_cut(text, size):
    data = text.encode()
    assert "".join(characters(data[i : i + size] for i in range(0, len(data), size))) == text


@given(data=st.binary(max_size=40), size=st.integers(1, 5))
def test_any_bytes_are_read_as_python_reads_them_at_once(data, size):
    pieces = [data[i : i + size] for i in range(0, len(data), size)]
    assert "".join(characters(pieces)) == data.decode(errors="replace")


def test_bytes_that_are_no_character_become_the_replacement_character():
    assert "".join(characters([b"a\xff", b"b\xe2\x82"])) == "a\ufffdb\ufffd"


def test_a_character_is_given_out_with_its_last_byte():
    euro = "€".encode()
    assert characters([euro[:1], euro[1:2], euro[2:] + b"!"]) == ["", "", "€!", ""]


@given(
    text=st.text("ab.", max_size=30),
    stop=st.text("ab.", min_size=1, max_size=3),
    size=st.integers(1, 4),
)
def test_text_ends_before_the_stop_string_wherever_it_is_cut(text, stop, size):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert "".join(until([stop], pieces)) == text.split(stop)[0]


@given(
    text=st.text("ab.", max_size=30),
    stops=st.lists(st.text("ab.", min_size=1, max_size=4), max_size=4),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
)
def test_the_cut_changes_nothing_and_what_is_shown_is_never_taken_back(text, stops, sizes):
    pieces, at = [], 0
    while at < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[at : at + size])
        at += size
    filtered, shown = Stops(stops), ""
    for i, piece in enumerate(pieces):
        shown += filtered.feed(piece)
        seen = "".join(pieces[: i + 1])
        end = first_of(stops, seen)
        # A shorter stop string may come to its end later and yet begin earlier.
        assert seen.startswith(shown)
        assert filtered.met == (end is not None)
        if filtered.met:
            break
        assert len(seen) - len(shown) == longest_beginning(stops, seen)
    shown += filtered.end()
    assert not any(stop in shown for stop in stops)
    assert filtered.met or shown == text


def test_of_several_stop_strings_the_first_in_the_text_counts():
    assert "".join(until(["END", "\n"], ["one E", "N two\nEND"])) == "one EN two"


def test_nothing_is_held_back_longer_than_it_must():
    assert until(["END"], ["ab", "cE", "xy", "EN"]) == ["ab", "c", "Exy", "", "EN"]


@pytest.mark.parametrize("stops", [(), ("END",)])
def test_behind_the_stop_string_nothing_is_shown(stops):
    filtered = Stops(stops)
    assert filtered.feed("a END b") == ("a " if stops else "a END b")
    assert filtered.met == bool(stops)
    assert filtered.feed("c") + filtered.end() == ("" if stops else "c")
