"""Guesses by look-up: quicker where a text repeats itself, and the same text."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt.generation.lookup import LONGEST, SHORTEST, guess
from minigpt.generation.scheduler import Scheduler
from minigpt.generation.torch_engine import TorchEngine
from minigpt.model.build import build_model

from .answers import GREEDY, WARM, answers, finished, request
from .conftest import SIZES, in_use

IDS = st.lists(st.integers(0, 3), max_size=40)


@given(ids=IDS, most=st.integers(1, 8))
def test_a_guess_is_what_followed_the_same_ending_before(ids, most):
    found = guess(ids, most)
    assert len(found) <= most
    repeats = [
        (length, start)
        for length in range(SHORTEST, LONGEST + 1)
        for start in range(len(ids) - length)
        if ids[start : start + length] == ids[-length:]
    ]
    if not repeats:
        assert found == []
        return
    length, start = max(repeats)  # of the longest endings the newest
    assert found == ids[start + length : start + length + most]
    assert found


def test_a_short_text_has_nothing_to_guess_from():
    assert guess([], 4) == guess([1], 4) == guess([1, 1], 4) == guess([1, 2, 3], 4) == []


@pytest.fixture(scope="module")
def repeating(tokenizer):
    """A model that says again what it said: the newest token decides much of what follows."""
    model = in_use(build_model(SIZES.replace(n_layer=1), tokenizer.vocab_size, seed=0))
    with torch.no_grad():
        model.blocks[0].attention.out.weight.mul_(0.3)
        model.head.weight.mul_(3)
    return model


@pytest.mark.parametrize("sampling", [GREEDY, {"temperature": 0.1}, WARM])
@pytest.mark.parametrize("guesses", [1, 4, 9])
def test_the_same_text_comes_in_fewer_steps(repeating, tokenizer, sampling, guesses):
    engine = TorchEngine(repeating, 2)
    plain, ahead = Scheduler(engine, tokenizer), Scheduler(engine, tokenizer, guesses=guesses)
    for seed in range(2):
        one = request(
            tokenizer, "the dog, the dog, the d", sampling, seed=seed, max_tokens=150, logprobs=0
        )
        [expected], [found] = finished(plain, [one]), finished(ahead, [one])
        # fp32 sums in another order; no chance here falls between two roundings.
        assert found.text == expected.text
        assert found.finish == expected.finish
        assert found.usage[0].rereads == expected.usage[0].rereads
        np.testing.assert_allclose(
            [token.logprob for token in found.tokens],
            [token.logprob for token in expected.tokens],
            atol=1e-4,
        )
    right = ahead.stats.guessed
    assert ahead.stats.steps + right == plain.stats.steps
    if sampling is not WARM:
        assert right > 20


@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_guesses_change_no_text_over_onnxruntime_either(make_engine, tokenizer, name):
    ones = [request(tokenizer, "the dog, the dog", GREEDY, seed=i, max_tokens=90) for i in (0, 1)]
    expected = answers(make_engine(name, 2), tokenizer, ones[:1])
    scheduler = Scheduler(make_engine(name, 2), tokenizer, guesses=6)
    assert finished(scheduler, ones[:1])[0].text == expected[0].text
    assert scheduler.stats.guessed > 0


def test_stop_strings_limits_and_the_end_hold_within_what_was_guessed(repeating, tokenizer):
    engine = TorchEngine(repeating)
    one = request(tokenizer, "the dog, the dog, the d", GREEDY, max_tokens=60)
    [whole] = answers(engine, tokenizer, [one])
    for most in range(1, 20):
        [cut] = answers(engine, tokenizer, [one.replace(max_tokens=most)], guesses=8)
        assert cut.usage[0].written == most
        assert whole.text.startswith(cut.text.rstrip("\ufffd"))
    stop = whole.text[30:32]
    [stopped] = answers(engine, tokenizer, [one.replace(stop=(stop,))], guesses=8)
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert stopped.finish == ["stop"]


def test_beside_others_nothing_is_guessed(repeating, tokenizer):
    engine = TorchEngine(repeating, 4)
    ones = [request(tokenizer, "the dog, the dog", GREEDY, max_tokens=30) for _ in range(3)]
    scheduler = Scheduler(engine, tokenizer, guesses=4)
    finished(scheduler, ones)
    # Texts are let in one after the other: until the second comes, the first is alone.
    assert scheduler.stats.guessed < 30


def test_tokens_are_chosen_with_the_models_own_odds(repeating, tokenizer):
    """Of many seeds, each writes the token that its number asks for, guessed or not.

    So the odds are those without guesses: nothing has to be accepted by chance.
    """
    engine = TorchEngine(repeating)
    prompt = "the dog, the dog, the d"
    firsts = []
    for guesses in (0, 5):
        scheduler = Scheduler(engine, tokenizer, guesses=guesses)
        ones = [request(tokenizer, prompt, WARM, seed=s, max_tokens=4) for s in range(60)]
        firsts.append([finished(scheduler, [one])[0].text for one in ones])
    assert firsts[0] == firsts[1]
    assert len(set(firsts[0])) > 10
