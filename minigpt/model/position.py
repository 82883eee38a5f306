"""How a model knows order: three hooks, no-ops by default; each kind overrides one.

Shapes: B batch, T new positions, S cached + new, C width, H heads, K kv heads, D head width.
"""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

Tables = tuple[Tensor, Tensor]
"""Cosines and sines, each (T, D), in fp32."""


class Position(nn.Module):
    """No positions (arXiv:2305.19466), and the base of the other kinds."""

    def embed(self, x: Tensor, start: int) -> Tensor:
        """(B, T, C) embedded tokens of positions start.. -> (B, T, C)."""
        del start
        return x

    def tables(self, start: int, length: int) -> Tables | None:
        """What `turn` takes for positions start..start+length; None: heads are not turned."""
        del start, length
        return None

    def bias(self, T: int, S: int, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores of the last T of S positions: (H, T, S), causal; or None."""
        del T, S, dtype
        return None


class LearnedPositions(Position):
    """One trained vector a position."""

    def __init__(self, context_length: int, n_embd: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(context_length, n_embd))

    def embed(self, x: Tensor, start: int) -> Tensor:
        """Add the vectors of positions start.. to x."""
        positions = torch.arange(start, start + x.size(1), device=x.device)
        return x + self.weight[positions]


class RotaryPositions(Position):
    """Turn the pairs (i, i + D/2) of queries and keys by position / theta^(2i/D)."""

    cos: Tensor
    sin: Tensor

    def __init__(self, context_length: int, head_width: int, theta: float) -> None:
        super().__init__()
        self.shape = (context_length, head_width, theta)
        cos, sin = rotary_tables(*self.shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Follow the model to a device but never to another dtype: bf16 tables stay rounded."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.cos.dtype != torch.float32:
            device = self.cos.device
            self.cos, self.sin = (table.to(device) for table in rotary_tables(*self.shape))
        return self

    def tables(self, start: int, length: int) -> Tables:
        """Rows start.. of the tables: (T, D) each."""
        # By index, not by slice: a slice's length depends on the table's end when exported.
        positions = torch.arange(start, start + length, device=self.cos.device)
        return self.cos[positions], self.sin[positions]


class AlibiPositions(Position):
    """Scores fall linearly with distance; head h by 2^(-8(h+1)/H) a position."""

    slopes: Tensor

    def __init__(self, n_head: int) -> None:
        super().__init__()
        slopes = 2.0 ** (-8.0 * torch.arange(1, n_head + 1) / n_head)
        self.register_buffer("slopes", slopes, persistent=False)

    def bias(self, T: int, S: int, dtype: torch.dtype) -> Tensor:
        """(H, T, S): minus slope times distance, minus infinity for what lies ahead."""
        query = torch.arange(S - T, S, device=self.slopes.device)[:, None]
        distance = query - torch.arange(S, device=self.slopes.device)  # (T, S)
        bias = -self.slopes[:, None, None] * distance
        return bias.masked_fill(distance < 0, float("-inf")).to(dtype)


def rotary_tables(length: int, width: int, theta: float) -> Tables:
    """Cosines and sines of every position, (length, width) each, both halves alike."""
    wavelengths = theta ** (torch.arange(0, width, 2).float() / width)
    angles = torch.arange(length).float()[:, None] * (1.0 / wavelengths)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def turn(x: Tensor, tables: Tables) -> Tensor:
    """Rotate queries or keys, (…, T, D) -> (…, T, D)."""
    cos, sin = tables[0].to(x.dtype), tables[1].to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
