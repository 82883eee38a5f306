import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.data.batches import IGNORED, TokenStream, every_target
from minigpt.data.shards import Tokens
from minigpt.errors import CheckpointError, DataError

steps = st.lists(st.tuples(st.integers(1, 9), st.sampled_from([2, 3, 5])), min_size=1, max_size=20)
checked = settings(deadline=None, derandomize=True, database=None, max_examples=60)


def numbers(count=101):
    """Each token is its own position, so a batch shows where it was read."""
    return Tokens(
        (np.arange(count),), np.array([0, count]), n_bytes=count, vocab_size=1000, eot_id=999
    )


def starts(batch):
    return batch[0][:, 0].tolist()


@given(schedule=steps, cut=st.integers(0, 20))
@checked
def test_a_stream_resumes_exactly_at_any_point(schedule, cut):
    whole = TokenStream(numbers(), seed=3)
    expected = [whole.take(*step) for step in schedule]
    first = TokenStream(numbers(), seed=3)
    for step in schedule[:cut]:
        first.take(*step)
    second = TokenStream(numbers(), seed=3)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for step, (ids, targets) in zip(schedule[cut:], expected[cut:], strict=True):
        got_ids, got_targets = second.take(*step)
        assert torch.equal(got_ids, ids)
        assert torch.equal(got_targets, targets)
    assert second.state_dict() == whole.state_dict() or cut >= len(schedule)


@given(length=st.integers(1, 60), passes=st.integers(1, 3))
@checked
def test_a_pass_uses_every_window_once(length, passes):
    stream, seen = TokenStream(numbers(), seed=1), {}
    while stream.epoch < passes:
        positions = starts(stream.take(1, length))
        seen.setdefault(stream.epoch, []).extend(positions)
    for epoch in range(passes):
        offset = min(seen[epoch])
        assert offset < length
        assert sorted(seen[epoch]) == list(range(offset, 101 - length, length))


@given(schedule=steps, world_size=st.integers(1, 5))
@checked
def test_slices_of_the_ranks_are_the_whole_batch(schedule, world_size):
    whole = TokenStream(numbers(), seed=2)
    ranks = [
        TokenStream(numbers(), seed=2, rank=r, world_size=world_size) for r in range(world_size)
    ]
    for step in schedule:
        parts = [rank.take(*step) for rank in ranks]
        for together, expected in zip(zip(*parts, strict=True), whole.take(*step), strict=True):
            assert torch.equal(torch.cat(together), expected)
        assert all(rank.state_dict() == whole.state_dict() for rank in ranks)


def test_a_state_of_two_ranks_resumes_on_three():
    two = TokenStream(numbers(), seed=2, rank=1, world_size=2)
    two.take(6, 3)
    three = TokenStream(numbers(), seed=2, rank=0, world_size=3)
    three.load_state_dict(two.state_dict())
    whole = TokenStream(numbers(), seed=2)
    whole.take(6, 3)
    assert starts(three.take(6, 3)) == starts(whole.take(6, 3))[:2]


def test_targets_are_the_inputs_moved_on_by_one():
    ids, targets = TokenStream(numbers(), seed=0).take(4, 7)
    assert ids.shape == targets.shape == (4, 7)
    assert ids.dtype == targets.dtype == torch.int64
    assert torch.equal(targets, ids + 1)  # the tokens count upwards
    assert ids.is_contiguous()
    assert targets.is_contiguous()


def test_a_batch_may_be_larger_than_a_pass():
    positions = starts(TokenStream(numbers(20), seed=0).take(50, 6))
    assert len(positions) == 50
    assert set(positions) <= set(range(14))


def test_another_length_begins_a_new_pass():
    stream = TokenStream(numbers(), seed=0)
    stream.take(3, 5)
    stream.take(1, 8)
    assert stream.state_dict() == {"seed": 0, "epoch": 1, "length": 8, "position": 1}


def test_seeds_and_passes_differ():
    one, other = TokenStream(numbers(), seed=0), TokenStream(numbers(), seed=1)
    first = starts(one.take(10, 5))
    assert first != starts(other.take(10, 5))
    one.take(9, 5)
    assert first != starts(one.take(10, 5))


def test_the_order_is_pinned():
    # Another order makes every recorded figure a figure of something else: change it knowingly.
    assert starts(TokenStream(numbers(), seed=1337).take(8, 5)) == [62, 7, 57, 32, 37, 47, 17, 52]


def test_text_shorter_than_a_window_is_refused():
    with pytest.raises(DataError, match="has 6 tokens, one window needs 7"):
        TokenStream(numbers(6), seed=0).take(1, 6)
    assert starts(TokenStream(numbers(7), seed=0).take(2, 6)) == [0, 0]


def test_a_state_of_another_seed_is_refused():
    with pytest.raises(CheckpointError, match="seed 1, this one has 2"):
        TokenStream(numbers(), seed=2).load_state_dict(TokenStream(numbers(), seed=1).state_dict())


@given(count=st.integers(2, 80), batch=st.integers(1, 5), length=st.integers(1, 30))
@checked
def test_validation_meets_every_target_once(count, batch, length):
    met = []
    for ids, targets in every_target(numbers(count), batch, length):
        assert ids.shape == targets.shape
        is_target = targets != IGNORED
        assert torch.equal(ids[is_target] + 1, targets[is_target])
        met += targets[is_target].tolist()
    assert met == list(range(1, count))


def test_validation_on_a_part_spreads_it_over_the_split():
    batches = list(every_target(numbers(101), batch=2, length=10, max_windows=3))
    assert [start for batch in batches for start in starts(batch)] == [0, 30, 60]
