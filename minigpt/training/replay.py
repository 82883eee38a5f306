"""A little of the old domain among the new: the plainest cure for forgetting (arXiv:1811.11682)."""

from typing import Any

import torch
from torch import Tensor

from minigpt.training.loop import Batches


class ReplayStream:
    """Batches of a new stream in which a share of the sequences comes from an old one."""

    def __init__(self, new: Batches, old: Batches, share: float) -> None:
        """`share` of all sequences in the long run; a batch holds whole sequences of each."""
        self.new, self.old, self.share = new, old, share
        self.owed = 0.0
        """Old sequences due and not yet given: the part of one that did not fit."""

    def split(self, rank: int, world_size: int) -> None:
        """Take only this rank's rows of every batch."""
        self.new.split(rank, world_size)
        self.old.split(rank, world_size)

    def take(self, batch: int, length: int) -> tuple[Tensor, Tensor]:
        """This rank's rows of the next `batch` sequences: ids and targets, (B, T) int64."""
        self.owed += batch * self.share
        n_old = int(self.owed)
        self.owed -= n_old
        parts = [(self.new, batch - n_old), (self.old, n_old)]
        taken = [stream.take(count, length) for stream, count in parts if count]
        ids, targets = zip(*taken, strict=True)
        return torch.cat(ids), torch.cat(targets)

    def state_dict(self) -> dict[str, Any]:
        """Where both streams are."""
        return {"new": self.new.state_dict(), "old": self.old.state_dict(), "owed": self.owed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.new.load_state_dict(state["new"])
        self.old.load_state_dict(state["old"])
        self.owed = state["owed"]
