import torch

from minigpt.training.replay import ReplayStream


class Constant:
    """A stream of one token that counts its batches."""

    def __init__(self, token):
        self.token, self.taken = token, 0

    def take(self, batch, length):
        self.taken += batch
        ids = torch.full((batch, length), self.token)
        return ids, ids + 1

    def state_dict(self):
        return {"taken": self.taken}

    def load_state_dict(self, state):
        self.taken = state["taken"]


def test_the_share_holds_in_the_long_run_though_no_batch_can_hold_it():
    stream = ReplayStream(Constant(0), Constant(7), share=0.125)
    batches = [stream.take(4, 3)[0] for _ in range(20)]
    assert all(ids.shape == (4, 3) for ids in batches)
    assert [int((ids[:, 0] == 7).sum()) for ids in batches] == [0, 1] * 10


def test_targets_follow_their_own_ids():
    ids, targets = ReplayStream(Constant(0), Constant(7), share=0.5).take(6, 2)
    assert ids[:, 0].tolist() == [0, 0, 0, 7, 7, 7]
    assert torch.equal(targets, ids + 1)


def test_it_goes_on_where_it_was_saved():
    stream = ReplayStream(Constant(0), Constant(7), share=0.3)
    for _ in range(3):
        stream.take(4, 2)
    other = ReplayStream(Constant(0), Constant(7), share=0.3)
    other.load_state_dict(stream.state_dict())
    for _ in range(5):
        assert torch.equal(stream.take(4, 2)[0], other.take(4, 2)[0])
    assert (other.new.taken, other.old.taken) == (stream.new.taken, stream.old.taken)
