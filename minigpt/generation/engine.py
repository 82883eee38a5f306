"""What computes logits: slots of keys and values, read and stepped together.

Shapes: V vocabulary, T tokens read at once.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


class Engine(ABC):
    """Several sequences, each in a slot of its own. One thread uses an engine at a time."""

    slots: int
    """Sequences that it holds at once."""
    context_length: int
    """Most positions that a slot holds: what the model sees at once."""
    vocab_size: int
    """V."""
    exact: bool
    """Whether a sequence gets the same bits whatever stands in the other slots."""

    @abstractmethod
    def read(self, slot: int, ids: Sequence[int], *, every: bool = False) -> Logits:
        """Read 1 or more ids behind what `slot` holds; (V,) logits of what follows the last.

        With `every`: (T, V), what follows each. What the slot holds must not become longer than
        context_length.
        """

    @abstractmethod
    def step(self, tokens: Mapping[int, int]) -> Mapping[int, Logits]:
        """Read one id in each slot named, in one pass; (V,) logits of what follows, by slot.

        The arrays are valid until the engine is used again.
        """

    @abstractmethod
    def length(self, slot: int) -> int:
        """Positions that `slot` holds."""

    @abstractmethod
    def cut(self, slot: int, length: int) -> None:
        """Forget what `slot` holds from position `length` on."""

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> None:
        """Make `target` hold the first `length` positions of `source`, and nothing else."""
