import numpy as np
import pytest

from minigpt.evaluation import bootstrap
from minigpt.evaluation.bootstrap import bits_per_byte, decimals_for, difference


def test_a_figure_is_the_ratio_of_the_sums():
    interval = bits_per_byte([100.0, 900.0], [100, 300])
    assert interval.point == 2.5
    assert (interval.low, interval.high) == (1.0, 3.0)  # one passage may be drawn twice
    assert interval.passages == 2


def test_intervals_cover_the_true_difference_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 400)
    random, covered, tries = np.random.default_rng(3), 0, 200
    for i in range(tries):
        text = random.normal(2.0, 0.4, 80)  # how hard a passage is, for both models
        other = 400 * text
        bits = 400 * (text + random.normal(0.02, 0.05, 80))
        interval = difference(bits, other, np.full(80, 400), seed=i)
        covered += interval.low <= 0.02 <= interval.high
    # Three standard errors of 200 tries at 94 % (percentile intervals fall a little short).
    assert covered / tries == pytest.approx(0.94, abs=0.05)


def test_the_interval_is_that_of_the_normal_approximation_where_that_holds():
    bits = np.random.default_rng(1).normal(800, 80, 2000)
    interval = bits_per_byte(bits, np.full(2000, 400))
    half = 1.96 * bits.std() / 400 / np.sqrt(2000)
    # 2,000 resamples place the ends within about 3 % of half the width.
    assert interval.high - interval.point == pytest.approx(half, rel=0.1)
    assert interval.point - interval.low == pytest.approx(half, rel=0.1)


def test_what_is_hard_for_both_cancels():
    random = np.random.default_rng(5)
    text = random.normal(800, 200, 100)
    paired = difference(text + 8, text, np.full(100, 400))
    assert paired.point == pytest.approx(0.02)
    assert paired.clear
    assert paired.high - paired.low < 1e-9
    noisy = difference(text + random.normal(0, 40, 100), text, np.full(100, 400))
    assert not noisy.clear
    assert not difference(text, text, np.full(100, 400)).clear


def test_the_same_passages_give_the_same_interval_however_few_fit_at_once(monkeypatch):
    bits = np.random.default_rng(2).normal(800, 80, 50)
    first = bits_per_byte(bits, np.full(50, 400))
    assert bits_per_byte(bits, np.full(50, 400)) == first
    monkeypatch.setattr(bootstrap, "CELLS", 500)
    parts = bits_per_byte(bits, np.full(50, 400))
    assert (parts.low, parts.high) == pytest.approx((first.low, first.high))


@pytest.mark.parametrize("bytes_", [[], [400], [0, 0]])
def test_bits_without_bytes_are_refused(bytes_):
    with pytest.raises(ValueError, match="one of each"):
        bits_per_byte([1.0, 2.0], bytes_)


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ((1.86, 1.78), 2),
        ((1.8754, 1.8750), 4),
        ((0.0004,), 4),
        ((0.0,), 2),
        ((1e-9,), 2),
        ((0.1, 0.1 + 1e-16), 2),
        ((-0.004, 0.01), 3),
    ],
)
def test_figures_that_differ_are_shown_with_as_many_digits_as_that_takes(values, decimals):
    assert decimals_for(*values) == decimals
