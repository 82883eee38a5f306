"""Positions as the first transformer had them."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from minigpt.model.position_config import PositionConfig, Sizes, Tensors

if TYPE_CHECKING:
    from torch import Tensor


class SinusoidalPosition(PositionConfig):
    """Sines and cosines of many wavelengths, added to the embedding (arXiv:1706.03762)."""

    kind: Literal["sinusoidal"] = "sinusoidal"
    longest: Annotated[float, Field(gt=0, le=1e6)] = 10_000.0
    """Longest wavelength in positions, over 2π."""

    def refuse(self, sizes: Sizes) -> None:
        """A width that is odd."""
        if sizes.n_embd % 2:
            raise ValueError(f"sinusoidal fills pairs, but n_embd is {sizes.n_embd}; make it even")

    def constants(self, sizes: Sizes) -> "dict[str, Tensor]":
        """(context_length, n_embd)."""
        import torch

        wavelengths = self.longest ** (torch.arange(0, sizes.n_embd, 2) / sizes.n_embd)
        angles = torch.arange(sizes.context_length)[:, None] / wavelengths
        return {"table": torch.cat((angles.sin(), angles.cos()), dim=-1)}

    def embed(self, x: "Tensor", rows: "Tensor", tensors: Tensors) -> "Tensor":
        """Add the rows of the table."""
        return x + tensors["table"][rows].to(x.dtype)


ENTRY = SinusoidalPosition
