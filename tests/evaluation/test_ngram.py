"""The byte n-gram against its definition, worked out one symbol at a time."""

import numpy as np
import pytest

from minigpt.evaluation.ngram import ByteNgram

TRAIN = b"abracadabra abracadabra, the cadaver bra"
TEST = b"bracada xyz abra"


def by_definition(text: bytes, history: bytes, symbol: int, order: int, discount: float) -> float:
    """p(symbol | the last order - 1 bytes of history), recursively; the text ends in a NUL."""
    if order == 0:
        return 1 / 256
    shorter = by_definition(text, history, symbol, order - 1, discount)
    if len(history) < order - 1:
        return shorter
    context = history[len(history) - order + 1 :]
    padded = text + b"\0"
    after = [
        padded[i + len(context)]
        for i in range(len(text) - len(context) + (len(context) > 0))
        if padded.startswith(context, i)
    ]
    if not after:
        return shorter
    counted = max(after.count(symbol) - discount, 0)
    return (counted + discount * len(set(after)) * shorter) / len(after)


@pytest.mark.parametrize("discount", [0.5, 0.9])
def test_bits_are_those_of_the_definition(discount: float) -> None:
    bits = ByteNgram(TRAIN, 4, discount).bits([TEST])
    expected = [
        [
            -np.log2(by_definition(TRAIN, TEST[:i], TEST[i], order, discount))
            for i in range(len(TEST))
        ]
        for order in range(1, 5)
    ]
    np.testing.assert_allclose(bits, expected, rtol=1e-12)


@pytest.mark.parametrize("history", [b"", b"a", b"abra", b"zzz", b"bra"])
def test_probabilities_of_all_bytes_sum_to_one(history: bytes) -> None:
    model = ByteNgram(TRAIN, 5, 0.75)
    documents = [history + bytes([symbol]) for symbol in range(256)]
    bits = model.bits(documents).reshape(5, 256, len(history) + 1)[:, :, -1]
    np.testing.assert_allclose((2.0**-bits).sum(axis=1), 1, rtol=1e-12)


def test_a_document_is_no_context_for_the_next() -> None:
    model = ByteNgram(TRAIN, 3, 0.9)
    apart = np.concatenate([model.bits([b"abra"]), model.bits([b"cada"])], axis=1)
    np.testing.assert_array_equal(model.bits([b"abra", b"cada"]), apart)


def test_nothing_learned_means_eight_bits_a_byte() -> None:
    np.testing.assert_array_equal(ByteNgram(b"", 3, 0.9).bits([b"abc", b""]), np.full((3, 3), 8.0))
