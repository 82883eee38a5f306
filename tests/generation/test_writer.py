"""One text from logits, without an engine."""

import numpy as np
import pytest

from minigpt.generation.sampling import log_softmax
from minigpt.generation.writer import Writer

from .answers import GREEDY, WARM, request


def logits_for(*ids, size=300):
    """(V,) logits with these ids likeliest, in order."""
    logits = np.zeros(size, np.float32)
    for place, token in enumerate(ids):
        logits[token] = 100 - place
    return logits


def ids_of_bytes(tokenizer, text):
    return [tokenizer.ranks[bytes([byte])] for byte in text.encode()]


def write(writer, ids):
    """Pieces of a writer for which each of `ids` is likeliest in turn."""
    return [writer.write(logits_for(token))[1] for token in ids if writer.finish is None]


@pytest.fixture
def writer(tokenizer):
    """A function from fields of a request to a greedy writer."""
    return lambda **values: Writer(
        request(tokenizer, **{"sampling": GREEDY} | values), values.pop("choice", 0), tokenizer
    )


def test_it_ends_with_the_last_token_asked_for(writer, tokenizer):
    one = writer(max_tokens=3)
    pieces = write(one, ids_of_bytes(tokenizer, "abcd"))
    assert [piece.text for piece in pieces] == ["a", "b", "c"]
    assert (one.finish, len(one.ids)) == ("length", 3)


def test_no_tokens_asked_for_is_an_end_before_the_start(writer):
    assert writer(max_tokens=0).finish == "length"


def test_the_end_of_a_document_ends_the_text_and_is_no_part_of_it(writer, tokenizer):
    one = writer()
    pieces = write(one, [*ids_of_bytes(tokenizer, "ab"), tokenizer.eot_id])
    assert "".join(piece.text for piece in pieces) == "ab"
    assert one.finish == "stop"


def test_a_stop_token_does_so_too(writer, tokenizer):
    a, b, c = ids_of_bytes(tokenizer, "abc")
    one = writer(stop_tokens=(b,))
    assert "".join(piece.text for piece in write(one, [a, b, c])) == "a"
    assert one.finish == "stop"


def test_where_the_end_is_ignored_it_is_not_written(writer, tokenizer):
    one, a = writer(ignore_end=True), ids_of_bytes(tokenizer, "a")[0]
    token, _ = one.write(logits_for(tokenizer.eot_id, a))
    assert (token, one.finish) == (a, None)


def test_no_special_token_is_written_unless_it_ends_the_text(writer, tokenizer):
    specials = [token for token in tokenizer.specials.values() if token != tokenizer.eot_id]
    [a] = ids_of_bytes(tokenizer, "a")
    assert writer().write(logits_for(*specials, a))[0] == a
    one = writer(stop_tokens=(specials[0],))
    assert one.write(logits_for(specials[0], a))[0] == specials[0]
    assert one.finish == "stop"


def test_a_character_comes_with_the_token_that_completes_it(writer, tokenizer):
    one = writer(max_tokens=5)
    pieces = write(one, ids_of_bytes(tokenizer, "a€b"))
    assert [piece.text for piece in pieces] == ["a", "", "", "€", "b"]


def test_half_a_character_at_the_end_is_shown_as_such(writer, tokenizer):
    pieces = write(writer(max_tokens=3), ids_of_bytes(tokenizer, "a€"))
    assert [piece.text for piece in pieces] == ["a", "", "\ufffd"]


def test_a_stop_string_across_tokens_ends_the_text_before_it(writer, tokenizer):
    one = writer(stop=("END", "zz"))
    pieces = write(one, ids_of_bytes(tokenizer, "aEbENDcd"))
    assert "".join(piece.text for piece in pieces) == "aEb"
    assert (one.finish, len(one.ids)) == ("stop", 6)


def test_what_looked_like_a_stop_string_is_shown_at_the_end(writer, tokenizer):
    pieces = write(writer(stop=("END",), max_tokens=3), ids_of_bytes(tokenizer, "aEN"))
    assert [piece.text for piece in pieces] == ["a", "", "EN"]


def test_log_probabilities_are_the_models_own(writer, tokenizer):
    a, b = ids_of_bytes(tokenizer, "ab")
    logits = logits_for(tokenizer.specials["<|pad|>"], b, a)
    one = writer(logprobs=2, sampling={"temperature": 0, "logit_bias": {b: -100}})
    token, piece = one.write(logits)
    [record] = piece.tokens
    own = log_softmax(logits)
    assert token == record.id == a
    assert record.text == b"a"
    assert record.logprob == pytest.approx(own[a])
    # Neither a ban nor a bias changes what is reported.
    assert [(i, pytest.approx(own[i])) for i, _, _ in record.top] == [
        (tokenizer.specials["<|pad|>"], record.top[0][2]), (b, record.top[1][2]),
    ]  # fmt: skip
    assert record.top[0][1] == b"<|pad|>"


def test_no_record_is_made_of_the_token_that_ends_the_text(writer, tokenizer):
    [piece] = write(writer(logprobs=0), [tokenizer.eot_id])
    assert piece.tokens == ()


def test_penalties_look_at_prompt_and_text(writer, tokenizer):
    a, b, c = ids_of_bytes(tokenizer, "abc")
    logits = logits_for(a, b, c)
    one = writer(prompt=(tokenizer.eot_id, a), sampling=GREEDY | {"repetition_penalty": 50.0})
    assert [one.write(logits)[0] for _ in range(2)] == [b, c]
    one = writer(prompt=(tokenizer.eot_id, a), sampling=GREEDY | {"presence_penalty": 1.5})
    assert [one.write(logits)[0] for _ in range(4)] == [a, b, a, a]  # taken off once


def test_a_seed_writes_the_same_and_another_something_else(tokenizer):
    logits = np.random.default_rng(0).normal(size=300).astype(np.float32)

    def ids(seed, choice=0):
        one = Writer(request(tokenizer, seed=seed, sampling=WARM), choice, tokenizer)
        return [one.write(logits)[0] for _ in range(10)]

    assert ids(1) == ids(1)
    assert len({tuple(ids(seed, choice)) for seed in (1, 2) for choice in (0, 1)}) == 4


def test_the_logits_given_are_left_as_they_were(writer):
    logits = np.random.default_rng(0).normal(size=300).astype(np.float32)
    before = logits.copy()
    for values in ({}, {"sampling": GREEDY | {"presence_penalty": 1.0}}, {"logprobs": 3}):
        writer(**values).write(logits)
        np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("ignore_end", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_where_nothing_may_follow_the_text_ends(writer, temperature, ignore_end):
    bias = dict.fromkeys(range(300), -100.0)
    sampling = {"temperature": temperature, "logit_bias": bias}
    one = writer(sampling=sampling, ignore_end=ignore_end, logprobs=2)
    assert one.write(logits_for(5))[1].text == ""
    assert one.finish == "stop"
