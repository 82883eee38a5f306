"""Linear biases of attention."""

from typing import TYPE_CHECKING, Literal

from minigpt.model.position_config import PositionConfig, Sizes, Tensors

if TYPE_CHECKING:
    from torch import Tensor


class AlibiPosition(PositionConfig):
    """A penalty that grows with distance, steeper in some heads (arXiv:2108.12409)."""

    kind: Literal["alibi"] = "alibi"

    def constants(self, sizes: Sizes) -> "dict[str, Tensor]":
        """Head h loses 2^(-8(h+1)/H) a position."""
        import torch

        return {"slopes": 2.0 ** (-8.0 * torch.arange(1, sizes.n_head + 1) / sizes.n_head)}

    def bias(self, rows: "Tensor", columns: "Tensor", tensors: Tensors) -> "Tensor":
        """(…, H, T, S): minus slope times distance."""
        distance = rows[..., :, None] - columns[..., None, :]  # (…, T, S)
        return -tensors["slopes"][:, None, None] * distance.unsqueeze(-3)


ENTRY = AlibiPosition
