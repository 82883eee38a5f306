"""What a kind of position states: its values, the tensors it needs and how it uses them.

params.yaml is read without torch, so a kind imports torch inside of its methods only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minigpt.config import Config

if TYPE_CHECKING:
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]
"""What `weights` and `constants` named, on the model's device."""


@dataclass(frozen=True)
class Sizes:
    """What of a model its positions may depend on."""

    n_embd: int
    n_head: int
    head_width: int
    context_length: int


class PositionConfig(Config):
    """No positions, and the base of every kind: each overrides what it needs.

    Shapes: B batch, T new positions, S cached + new, C width, H heads, D head width. Positions are
    (T) and (S), or (B, T) and (B, S) where rows of a batch have different lengths.
    """

    kind: str

    def refuse(self, sizes: Sizes) -> None:
        """Raise a ValueError where a model of these sizes cannot have such positions."""
        del sizes

    def weights(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """Names and shapes of what is trained; zeros at first."""
        del sizes
        return {}

    def constants(self, sizes: Sizes) -> "dict[str, Tensor]":
        """Tensors that follow from the sizes, in fp32; they stay so, and no package holds them."""
        del sizes
        return {}

    def embed(self, x: "Tensor", rows: "Tensor", tensors: Tensors) -> "Tensor":
        """(B, T, C) embedded tokens at the positions `rows` -> (B, T, C)."""
        del rows, tensors
        return x

    def tables(self, rows: "Tensor", tensors: Tensors) -> "tuple[Tensor, Tensor] | None":
        """Cosines and sines, (…, T, D) each, that turn queries and keys; None: nothing does."""
        del rows, tensors
        return None

    def bias(self, rows: "Tensor", columns: "Tensor", tensors: Tensors) -> "Tensor | None":
        """(…, H, T, S), added to the scores of `rows` over all positions; None: nothing is.

        What lies ahead is masked elsewhere.
        """
        del rows, columns, tensors
        return None
