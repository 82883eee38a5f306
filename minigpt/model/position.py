"""The positions of a model: the tensors of its kind, and what the kind does with them.

Shapes: B batch, T new positions, S cached + new, C width, H heads, D head width.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from minigpt.model.position_config import PositionConfig, Sizes, Tensors

Tables = tuple[Tensor, Tensor]
"""Cosines and sines, each (T, D) or (B, 1, T, D), in fp32."""


class Position(nn.Module):
    """How a model knows order."""

    def __init__(self, kind: PositionConfig, sizes: Sizes) -> None:
        super().__init__()
        self.kind, self.sizes = kind, sizes
        for name, shape in kind.weights(sizes).items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))
        for name, tensor in kind.constants(sizes).items():
            self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow the model to a device, but constants to no other dtype: bf16 would round them."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if any(tensor.dtype != torch.float32 for tensor in self.buffers()):
            device = next(self.buffers()).device
            for name, tensor in self.kind.constants(self.sizes).items():
                setattr(self, name, tensor.to(device))
        return self

    @property
    def tensors(self) -> Tensors:
        """Weights and constants by name."""
        return dict(self.named_parameters()) | dict(self.named_buffers())

    def embed(self, x: Tensor, rows: Tensor) -> Tensor:
        """(B, T, C) embedded tokens at the positions `rows`, (T) or (B, T) -> (B, T, C)."""
        return self.kind.embed(x, rows, self.tensors)

    def tables(self, rows: Tensor) -> Tables | None:
        """What `turn` takes for `rows`; None: heads are not turned."""
        tables = self.kind.tables(rows, self.tensors)
        if tables is None or rows.dim() == 1:
            return tables
        cos, sin = tables
        return cos[:, None], sin[:, None]  # the same for all heads

    def mask(
        self, rows: Tensor, columns: Tensor, mask: Tensor | None, dtype: torch.dtype
    ) -> Tensor | None:
        """`ModelCache.mask`, or where the kind has a bias that with the mask in it: (…, H, T, S).

        `rows` and `columns` are `ModelCache.positions`.
        """
        bias = self.kind.bias(rows, columns, self.tensors)
        if bias is None:
            return mask
        if mask is None:
            mask = columns <= rows[:, None]  # (T, S)
        return bias.masked_fill(~mask, float("-inf")).to(dtype)


def turn(x: Tensor, tables: Tables) -> Tensor:
    """Rotate queries or keys, (…, T, D) -> (…, T, D)."""
    cos, sin = tables[0].to(x.dtype), tables[1].to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
