"""Sketches of the runs of words of a text."""

import random

import numpy as np
import pytest

from minigpt.data.word_runs import read_word_runs, sketch, write_word_runs
from minigpt.errors import DataError

WORDS = [f"{a}{b}" for a in "bcdfglmnprst" for b in ("ara", "eto", "ilu", "ond", "usk", "yme")]


def text(seed, words=3000):
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(words))


def test_the_share_of_a_text_that_others_have():
    learned = sketch([text(1), text(2)])
    assert learned.share_of(text(1)) == learned.share_of(text(2).title()) == 1
    assert learned.share_of(text(3)) == 0
    half = " ".join([*text(1).split()[:1500], *text(4).split()[:1500]])
    assert learned.share_of(half) == pytest.approx(0.5, abs=0.01)
    assert learned.share_of("too short to tell by runs") is None


def test_a_sample_tells_nearly_the_same_whatever_the_order():
    texts = [text(n) for n in range(6)]
    small, other = sketch(texts, most=1000), sketch(texts[::-1], most=1000)
    assert np.array_equal(small.runs, other.runs)
    assert small.halvings == other.halvings == 5  # of some 18,000 runs
    half = " ".join([*texts[0].split()[:1500], *text(9).split()[:1500]])
    assert small.share_of(half) == pytest.approx(0.5, abs=0.15)
    assert small.share_of(text(1)) == 1


def test_it_is_read_as_it_was_written(tmp_path):
    learned = sketch([text(1)], most=100)
    write_word_runs(tmp_path / "runs", learned)
    data = (tmp_path / "runs").read_bytes()
    again = read_word_runs(data)
    assert (again.halvings, again.runs.tolist()) == (learned.halvings, learned.runs.tolist())
    write_word_runs(tmp_path / "runs", again)
    assert (tmp_path / "runs").read_bytes() == data
    for broken in (b"", data[:20], data.replace(b"halvings", b"halfings")):
        with pytest.raises(DataError, match="no sketch of word runs"):
            read_word_runs(broken)


def test_no_training_text_has_nothing():
    assert sketch([]).share_of(text(1)) == 0
