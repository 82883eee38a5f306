"""Bits of tokens: windows, borders of documents, and a case small enough for a pencil."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minigpt.errors import DataError, ParamsError
from minigpt.evaluation.config import WindowConfig
from minigpt.evaluation.perplexity import (
    bits_of_documents,
    measure,
    measure_package,
    model_score,
    token_bits,
    window_over,
)
from minigpt.model.config import ModelConfig


def count_context(ids: Tensor, first: int) -> Tensor:
    """Logits over 64 ids that give the id t + 1 the log-probability -t at position t."""
    rows, length = ids.shape
    wanted = torch.exp(-torch.arange(length, dtype=torch.float64))
    p = ((1 - wanted) / 63)[None, :, None].repeat(rows, 1, 64)
    p.scatter_(2, ((ids + 1) % 64)[..., None], wanted[None, :, None].expand(rows, -1, 1))
    return p.log()[:, first:]


def test_three_tokens_by_hand() -> None:
    # After id 0: id 1 with 1/2. After id 1: id 2 with 1/4. After id 2: id 0 with 1/8.
    table = torch.tensor(
        [[1 / 4, 1 / 2, 1 / 4], [3 / 8, 3 / 8, 1 / 4], [1 / 8, 3 / 8, 1 / 2]]
    ).log()
    stream = np.array([0, 1, 2, 0])
    [bits] = token_bits(
        lambda ids, first: table[ids[:, first:]], [stream], WindowConfig(length=8, stride=4), fill=0
    )
    np.testing.assert_allclose(bits, [1, 2, 3], rtol=1e-6)  # fp32 logarithms


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    length=st.integers(2, 12),
    stride=st.integers(1, 12),
    batch=st.integers(1, 4),
)
def test_every_token_is_scored_once_with_the_context_promised(
    lengths: list[int], length: int, stride: int, batch: int
) -> None:
    stride = min(stride, length)
    streams = [np.arange(n) for n in lengths]
    window = WindowConfig(length=length, stride=stride, batch=batch)
    for stream, bits in zip(streams, token_bits(count_context, streams, window, 0), strict=True):
        position = np.rint(bits * np.log(2)).astype(
            int
        )  # of each token in the window that scored it
        assert len(position) == len(stream) - 1
        expected = [
            i if i < length else length - stride + (i - length) % stride
            for i in range(len(position))
        ]
        assert position.tolist() == expected


def test_windows_change_only_the_context(tiny_package, documents) -> None:
    tokenizer, score = tiny_package.tokenizer, model_score(tiny_package.model)
    whole = WindowConfig(length=64, stride=64, batch=1)
    short = documents[-1]  # fits one window
    one = measure(score, tokenizer, [short], whole)
    for window in (WindowConfig(length=64, stride=8, batch=3), WindowConfig(length=50, stride=50)):
        # The same fp32 sums in other batches.
        assert measure(score, tokenizer, [short], window).bits == pytest.approx(one.bits, rel=1e-5)


def test_bytes_of_tokens_are_the_documents_bytes(tiny_package, documents) -> None:
    window = WindowConfig(length=32, stride=16)
    measurements = bits_of_documents(
        model_score(tiny_package.model), tiny_package.tokenizer, documents, window
    )
    assert [m.document for m in measurements] == documents
    assert [m.token_bytes.sum() for m in measurements] == [d.n_bytes for d in documents]
    assert [len(m.bits) for m in measurements] == [len(m.token_bytes) for m in measurements]


def test_a_work_is_context_for_itself_only(tiny_package, documents) -> None:
    score, window = model_score(tiny_package.model), WindowConfig(length=64, stride=32)
    apart = [measure(score, tiny_package.tokenizer, [d], window).bits for d in documents]
    together = measure(score, tiny_package.tokenizer, documents, window).bits
    assert together == pytest.approx(sum(apart), rel=1e-5)  # fp32 sums in other batches


@pytest.mark.parametrize(("length", "stride"), [(65, None), (None, 65), (8, 9)])
def test_windows_that_do_not_fit_are_refused(length: int | None, stride: int | None) -> None:
    with pytest.raises(ParamsError, match="at most"):
        window_over(ModelConfig(context_length=64), length, stride)


def test_windows_are_the_context_moved_on_by_half() -> None:
    assert window_over(ModelConfig(context_length=64)) == WindowConfig(length=64, stride=32)


def test_no_text_is_refused(tiny_package) -> None:
    with pytest.raises(DataError, match="no text"):
        measure_package(tiny_package, [], WindowConfig(length=8, stride=8))


def test_figures_do_not_depend_on_where_logits_come_from(tiny_package, documents) -> None:
    window = WindowConfig(length=32, stride=16)

    def session(ids: Tensor, first: int) -> Tensor:
        return tiny_package.model(ids)[:, first:]  # what an onnxruntime session can do

    with torch.inference_mode():
        ours = measure_package(tiny_package, documents, window)
        theirs = measure(session, tiny_package.tokenizer, documents, window)
    assert ours.bits_per_byte == pytest.approx(theirs.bits_per_byte, rel=1e-6)
