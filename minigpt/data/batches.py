"""Batches of a token split: the training stream, and every target once for validation.

Shapes: B sequences, T tokens. Targets are the inputs moved on by one token.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigpt.data.shards import Tokens
from minigpt.errors import CheckpointError, DataError

IGNORED = -100
"""Target of a position that counts for nothing (PyTorch's default)."""


class TokenStream:
    """An endless stream of shuffled windows, without replacement within a pass.

    Each pass cuts the split into windows of T tokens from a new random offset on and shuffles
    them; another length begins a new pass. What a step gets is a function of the seed and of the
    batches asked for so far, whoever asks: ranks take slices of one global batch, and four numbers
    resume it exactly.
    """

    def __init__(self, tokens: Tokens, seed: int, rank: int = 0, world_size: int = 1) -> None:
        """`rank` of `world_size` processes that share every batch."""
        self.tokens, self.seed, self.rank, self.world_size = tokens, seed, rank, world_size
        self.epoch = 0
        """Passes begun, the present one not counted."""
        self.length = 0
        """T of the present pass; 0 before the first."""
        self.position = 0
        """Windows of the present pass that are used up."""
        self._windows = np.empty(0, dtype=np.int64)

    def refuse_longer(self, length: int, role: str) -> None:
        """Refuse windows that the split cannot fill; asked before training, not when they come.

        Raises:
            DataError: names the role, its tokens and the keys.
        """
        if len(self.tokens) < length + 1:
            raise DataError(
                f"the sources of role {role} have {len(self.tokens):,} tokens to train on, one "
                f"window takes {length + 1:,}. Add text (params.yaml: sources), or lower "
                f"model.context_length or {role}.phases"
            )

    def split(self, rank: int, world_size: int) -> None:
        """Take only this rank's rows from now on."""
        self.rank, self.world_size = rank, world_size

    def take(self, batch: int, length: int) -> tuple[Tensor, Tensor]:
        """This rank's rows of the next global batch: ids and targets, (B, T) int64.

        Raises:
            DataError: the split is shorter than one window.
        """
        if length != self.length:
            self._begin(self.epoch + 1 if self.length else 0, length)
        parts, wanted = [], batch
        while wanted:
            if self.position == len(self._windows):
                self._begin(self.epoch + 1, length)
            parts.append(self._windows[self.position : self.position + wanted])
            self.position += len(parts[-1])
            wanted -= len(parts[-1])
        first, last = (batch * r // self.world_size for r in (self.rank, self.rank + 1))
        return as_batch(self.tokens.rows(np.concatenate(parts)[first:last], length + 1))

    def state_dict(self) -> dict[str, int]:
        """Where the stream is: plain numbers, the same on every rank."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "length": self.length,
            "position": self.position,
        }

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a saved state, on any number of ranks; costs one shuffle.

        Raises:
            CheckpointError: the state is of another seed.
        """
        if state["seed"] != self.seed:
            raise CheckpointError(
                f"the data stream was saved with seed {state['seed']}, this one has {self.seed}"
            )
        if state["length"]:
            self._begin(state["epoch"], state["length"])
        self.epoch, self.length = state["epoch"], state["length"]
        self.position = state["position"]

    def _begin(self, epoch: int, length: int) -> None:
        """Shuffle the windows of one pass."""
        spare = len(self.tokens) - 1 - length
        if spare < 0:
            raise DataError(
                f"the split has {len(self.tokens):,} tokens, one window needs {length + 1:,}. "
                "Add text or lower the length in params.yaml."
            )
        random = np.random.default_rng([self.seed, epoch])
        offset = int(random.integers(min(length, spare + 1)))
        count = (len(self.tokens) - 1 - offset) // length
        self._windows = random.permutation(count) * length + offset
        self.epoch, self.length, self.position = epoch, length, 0


def every_target(
    tokens: Tokens, batch: int, length: int, max_windows: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Consecutive windows in which each token but the first is a target once; (≤ B, T) int64.

    The last window is filled up with <|endoftext|> and ignored targets. With `max_windows`, that
    many windows spread evenly over the split.
    """
    count = -(-(len(tokens) - 1) // length)
    chosen = np.arange(count)
    if max_windows is not None and max_windows < count:
        chosen = np.arange(max_windows) * count // max_windows
    for first in range(0, len(chosen), batch):
        starts = chosen[first : first + batch] * length
        whole = starts[starts + length < len(tokens)]
        rows = np.full((len(starts), length + 1), IGNORED, dtype=np.int64)
        rows[: len(whole)] = tokens.rows(whole, length + 1)
        if len(whole) < len(starts):
            rest = len(tokens) - int(starts[-1])
            rows[-1, :rest] = tokens.rows(starts[-1:], rest)
        ids, targets = as_batch(rows)
        yield ids.masked_fill(ids == IGNORED, tokens.eot_id), targets


def as_batch(rows: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Tensor, Tensor]:
    """(B, T + 1) tokens -> ids and targets, (B, T) each."""
    whole = torch.from_numpy(rows)
    return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()
