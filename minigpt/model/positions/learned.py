"""Positions as GPT-2 has them."""

from typing import TYPE_CHECKING, Literal

from minigpt.model.position_config import PositionConfig, Sizes, Tensors

if TYPE_CHECKING:
    from torch import Tensor


class LearnedPosition(PositionConfig):
    """One trained vector a position, added to the embedding (GPT-2)."""

    kind: Literal["learned"] = "learned"

    def weights(self, sizes: Sizes) -> dict[str, tuple[int, ...]]:
        """One row a position."""
        return {"weight": (sizes.context_length, sizes.n_embd)}

    def embed(self, x: "Tensor", rows: "Tensor", tensors: Tensors) -> "Tensor":
        """Add the vectors of `rows`."""
        return x + tensors["weight"][rows]


ENTRY = LearnedPosition
