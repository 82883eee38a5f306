"""Rotary positions."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from minigpt.model.position_config import PositionConfig, Sizes, Tensors

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 2**28
"""Numbers of a table, 1 GB: a million positions and heads twice as wide as any that was published.
"""


class RopePosition(PositionConfig):
    """Rotary positions in half-split form (arXiv:2104.09864), as Llama and Qwen3 have them."""

    kind: Literal["rope"] = "rope"
    theta: Annotated[float, Field(ge=1, le=1e12)] = 10_000.0
    """Base of the wavelengths; larger for longer contexts."""

    def refuse(self, sizes: Sizes) -> None:
        """Heads of an odd width, and tables that no memory holds."""
        width = sizes.head_width
        if width * sizes.context_length > LARGEST:
            raise ValueError(
                f"rope has a table of context_length ({sizes.context_length:,}) times the width of "
                f"a head ({width:,}) numbers; {LARGEST:,} at most"
            )
        if width % 2:
            raise ValueError(f"rope turns pairs, but a head is {width} wide; make it even")

    def constants(self, sizes: Sizes) -> "dict[str, Tensor]":
        """Pair (i, i + D/2) turns by position / theta^(2i/D): (context_length, D) each."""
        import numpy as np
        import torch

        wavelengths = self.theta ** (
            torch.arange(0, sizes.head_width, 2, device="cpu").float() / sizes.head_width
        )
        places = torch.arange(sizes.context_length, device="cpu").float()
        angles = places[:, None] * (1.0 / wavelengths)
        # By numpy, in one thread: the first cosines that two threads of torch compute at once have
        # other bits in one process of 60.
        turns = torch.cat((angles, angles), dim=-1).double().numpy()
        return {
            "cos": torch.from_numpy(np.cos(turns)).float(),
            "sin": torch.from_numpy(np.sin(turns)).float(),
        }

    def tables(self, rows: "Tensor", tensors: Tensors) -> "tuple[Tensor, Tensor]":
        """(…, T, D) each."""
        # By index, not by slice: a slice's length depends on the table's end when exported.
        return tensors["cos"][rows], tensors["sin"][rows]


ENTRY = RopePosition
