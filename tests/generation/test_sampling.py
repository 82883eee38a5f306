import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.generation.config import SamplingConfig
from minigpt.generation.request import Sampling
from minigpt.generation.sampling import (
    Seen,
    adjusted,
    alternatives,
    chance_at,
    choose,
    greatest,
    log_softmax,
    probabilities,
)

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3]))
ALL = SamplingConfig(temperature=1, top_k=None, top_p=None)
MORE = Sampling(temperature=1, top_k=None, top_p=None)
NUMBERS = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=300)
"""Logits, many of them equal, of vocabularies on both sides of what is searched in blocks."""


def test_temperature_one_gives_the_models_own_probabilities():
    np.testing.assert_allclose(probabilities(LOGITS, ALL), [0.1, 0.4, 0.2, 0.3])


def test_temperature_zero_takes_the_likeliest_whatever_the_chance():
    greedy = ALL.replace(temperature=0)
    assert {choose(LOGITS, greedy, chance) for chance in (0.0, 0.5, 0.999)} == {1}


def test_a_low_temperature_sharpens():
    assert probabilities(LOGITS, ALL.replace(temperature=0.5))[1] == pytest.approx(0.16 / 0.30)


def test_top_k_keeps_the_k_likeliest_in_proportion():
    chances = probabilities(LOGITS, ALL.replace(top_k=2))
    np.testing.assert_allclose(chances, [0, 4 / 7, 0, 3 / 7])


def test_top_p_keeps_the_fewest_that_reach_it():
    chances = probabilities(LOGITS, ALL.replace(top_p=0.6))
    np.testing.assert_allclose(chances, [0, 4 / 7, 0, 3 / 7])


def test_top_p_is_a_share_of_what_top_k_left():
    chances = probabilities(LOGITS, ALL.replace(top_k=2, top_p=0.5))
    np.testing.assert_allclose(chances, [0, 1, 0, 0])


def test_equal_tokens_are_kept_from_the_lowest_id():
    np.testing.assert_allclose(probabilities(np.zeros(4), ALL.replace(top_k=2)), [0.5, 0.5, 0, 0])


def test_the_chance_walks_through_the_probabilities():
    assert [choose(LOGITS, ALL, chance) for chance in (0.05, 0.15, 0.55, 0.75)] == [0, 1, 2, 3]


@given(
    logits=st.lists(st.floats(-50, 50), min_size=1, max_size=20),
    temperature=st.floats(0.05, 5),
    top_k=st.none() | st.integers(1, 30),
    top_p=st.none() | st.floats(0.01, 1),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_what_is_chosen_has_a_probability(logits, temperature, top_k, top_p, chance):
    sampling = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    chances = probabilities(np.array(logits), sampling)
    assert chances.sum() == pytest.approx(1)
    assert chances[choose(np.array(logits), sampling, chance)] > 0


def test_a_chance_next_to_one_takes_a_token_that_is_there():
    logits = np.log(np.array([0.1] * 9 + [1e-300] * 3))
    assert choose(logits, ALL.replace(top_k=9), np.nextafter(1, 0)) == 8


def test_a_banned_token_is_never_chosen():
    logits = LOGITS.copy()
    logits[1] = -np.inf
    assert probabilities(logits, ALL)[1] == 0


def test_min_p_keeps_what_is_near_the_likeliest():
    chances = probabilities(LOGITS, MORE.replace(min_p=0.6))
    np.testing.assert_allclose(chances, [0, 4 / 7, 0, 3 / 7])
    np.testing.assert_allclose(probabilities(LOGITS, MORE.replace(min_p=1)), [0, 1, 0, 0])


def test_typical_p_keeps_what_surprises_as_much_as_is_to_be_expected():
    # The expected surprise is 1.28: that of 0.278. Nearest is 0.3, then 0.2, then 0.4.
    np.testing.assert_allclose(probabilities(LOGITS, MORE.replace(typical_p=0.25)), [0, 0, 0, 1])
    chances = probabilities(LOGITS, MORE.replace(typical_p=0.45))
    np.testing.assert_allclose(chances, [0, 0, 0.4, 0.6])
    np.testing.assert_allclose(probabilities(LOGITS, MORE.replace(typical_p=1)), np.exp(LOGITS))


def by_definition(logits, sampling):
    """Probabilities one setting after the other, each over what the one before has left."""
    weights = {i: np.exp((x - max(logits)) / sampling.temperature) for i, x in enumerate(logits)}
    likeliest = sorted(weights, key=lambda i: (-weights[i], i))[: sampling.top_k]
    weights = {i: weights[i] for i in likeliest}
    if sampling.top_p is not None:
        total, before = sum(weights.values()), 0.0
        for i in likeliest:
            if before >= sampling.top_p * total:
                del weights[i]
            else:
                before += weights[i]
    if sampling.typical_p is not None:
        total = sum(weights.values())
        surprises = {i: -np.log(w / total) for i, w in weights.items()}
        expected = sum(w / total * surprises[i] for i, w in weights.items())
        before = 0.0
        for i in sorted(weights, key=lambda i: abs(surprises[i] - expected)):
            if before >= sampling.typical_p:
                del weights[i]
            else:
                before += weights[i] / total
    least = sampling.min_p * max(weights.values())
    weights = {i: w for i, w in weights.items() if w >= least}
    return [weights.get(i, 0) / sum(weights.values()) for i in range(len(logits))]


@given(
    logits=st.lists(st.floats(-8, 8), min_size=1, max_size=300, unique=True),
    temperature=st.floats(0.2, 5),
    top_k=st.none() | st.integers(1, 80),
    top_p=st.none() | st.floats(0.01, 1),
    typical_p=st.none() | st.floats(0.01, 1),
    min_p=st.floats(0, 1),
)
def test_all_settings_together_do_what_their_definitions_say(
    logits, temperature, top_k, top_p, typical_p, min_p
):
    sampling = Sampling(
        temperature=temperature, top_k=top_k, top_p=top_p, typical_p=typical_p, min_p=min_p
    )
    found = probabilities(np.array(logits), sampling)
    np.testing.assert_allclose(found, by_definition(logits, sampling), atol=1e-9)


@given(logits=NUMBERS, count=st.integers(1, 100))
def test_the_greatest_are_those_of_a_full_sort(logits, count):
    values = np.array(logits, np.float32)
    expected = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    assert greatest(values, count).tolist() == expected


@given(logits=NUMBERS, top_k=st.integers(1, 50), top_p=st.floats(0.01, 1))
def test_settings_that_leave_all_change_nothing(logits, top_k, top_p):
    values = np.array(logits)
    for sampling in (ALL, ALL.replace(top_k=top_k), ALL.replace(top_p=top_p)):
        more = Sampling(**sampling.model_dump(), typical_p=None, min_p=0)
        np.testing.assert_array_equal(probabilities(values, more), probabilities(values, sampling))


@given(logits=NUMBERS, chance=st.floats(0, 1, exclude_max=True))
def test_a_rising_chance_takes_rising_ids(logits, chance):
    values = np.array(logits)
    ends = np.cumsum(probabilities(values, ALL))
    token = choose(values, ALL, chance)
    assert ends[token] >= chance - 1e-12
    assert token == 0 or ends[token - 1] <= chance + 1e-12


def test_the_chance_of_a_place_is_a_number_of_its_own():
    places = [(seed, choice, i) for seed in (0, 1, 2**64 - 1) for choice in (0, 1) for i in (0, 1)]
    chances = [chance_at(*place) for place in places]
    assert len(set(chances)) == len(places)
    assert all(0 <= chance < 1 for chance in chances)
    assert chances == [chance_at(*place) for place in places]
    # Another version of the code must not change what a seed writes.
    assert chance_at(0, 0, 0) == 0.15674255346555807
    assert chance_at(-1, 0, 0) == chance_at(2**64 - 1, 0, 0)


def test_chances_are_spread_evenly_and_do_not_follow_from_each_other():
    chances = np.array([chance_at(7, 0, i) for i in range(4000)])
    counts, _ = np.histogram(chances, bins=20, range=(0, 1))
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi square, 19 degrees: one in a thousand
    assert abs(np.corrcoef(chances[1:], chances[:-1])[0, 1]) < 0.05


def test_penalties_follow_their_formulas():
    logits = np.array([2.0, -2.0, 1.0, 0.5, 3.0])
    seen = Seen(np.array([0, 1]))
    for token in (3, 3, 4):
        seen.add(token)
    penalties = {"repetition_penalty": 2, "frequency_penalty": 0.25, "presence_penalty": 0.125}
    one = {name: adjusted(logits, MORE.replace(**{name: v}), seen) for name, v in penalties.items()}
    np.testing.assert_array_equal(one["repetition_penalty"], [1, -4, 1, 0.25, 1.5])
    # These two count the text alone, not the prompt.
    np.testing.assert_array_equal(one["frequency_penalty"], [2, -2, 1, 0, 2.75])
    np.testing.assert_array_equal(one["presence_penalty"], [2, -2, 1, 0.375, 2.875])
    together = adjusted(logits, MORE.replace(**penalties), seen)
    np.testing.assert_array_equal(together, [1, -4, 1, 0.25 - 0.625, 1.5 - 0.375])


def test_a_negative_penalty_makes_likelier():
    seen = Seen(np.array([], np.int64))
    seen.add(1)
    sampling = MORE.replace(frequency_penalty=-2, presence_penalty=-1)
    np.testing.assert_array_equal(adjusted(np.zeros(3), sampling, seen), [0, 3, 0])


def test_the_bias_is_added_and_minus_100_bans():
    logits = np.array([1.0, 2.0, 3.0], np.float32)
    found = adjusted(logits, MORE.replace(logit_bias={0: 5, 2: -100}), None)
    np.testing.assert_array_equal(found, [6, 2, -np.inf])
    assert logits.tolist() == [1, 2, 3]  # what the engine gave is left as it was


@given(logits=NUMBERS)
def test_log_softmax_gives_logarithms_of_probabilities(logits):
    values = np.array(logits, np.float32)
    logprobs = log_softmax(values)
    assert np.exp(logprobs).sum() == pytest.approx(1)
    np.testing.assert_allclose(logprobs - logprobs[0], values - values[0], atol=1e-6)


def test_log_softmax_of_banned_and_of_great_logits_is_a_number():
    assert log_softmax(np.array([1e30, 0, -np.inf])).tolist() == [0, -1e30, -np.inf]


def test_alternatives_are_the_likeliest_in_order():
    logprobs = log_softmax(LOGITS)
    assert list(alternatives(logprobs, 3)) == [1, 3, 2]
    assert alternatives(logprobs, 1) == {1: pytest.approx(np.log(0.4))}
    assert alternatives(logprobs, 0) == {}
    assert len(alternatives(logprobs, 20)) == 4


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": float("nan")}, {"min_p": 1.5}, {"typical_p": 0}, {"top_p": float("inf")},
        {"repetition_penalty": 0}, {"frequency_penalty": 2.5}, {"presence_penalty": float("nan")},
        {"logit_bias": {3: 101}}, {"logit_bias": {3: float("nan")}}, {"top_k": 0}, {"nosuch": 1},
    ],
)  # fmt: skip
def test_a_setting_that_is_not_allowed_is_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Sampling(**values)
