import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.generation.config import SamplingConfig
from minigpt.generation.sampling import choose, probabilities

LOGITS = np.log(np.array([0.1, 0.4, 0.2, 0.3]))
ALL = SamplingConfig(temperature=1, top_k=None, top_p=None)


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
