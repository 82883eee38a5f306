"""Keys and values of positions already seen.

Shapes: B batch, T new positions, S cached + new, K kv heads, D head width.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor


class LayerCache(Protocol):
    """What one attention layer needs of a cache."""

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep (B, K, T, D) new keys and values; give back all of them: (B, K, S, D)."""


class ModelCache(Protocol):
    """What `GPT` needs of a cache."""

    @property
    def length(self) -> int:
        """Places already in it: each holds the keys and values of a token, or padding."""

    @property
    def layers(self) -> Sequence[LayerCache]:
        """One cache a block."""

    def positions(self, T: int) -> tuple[Tensor, Tensor]:
        """What the T new places and all S stand for: (T) and (S), or by row (B, T) and (B, S)."""

    def mask(self, T: int) -> Tensor | None:
        """(T, S) or (B, 1, T, S), true where a new place may look; None: causal from 0, or T 1."""

    def advance(self, T: int) -> None:
        """Count T new positions, after all layers have seen them."""


class FixedLayerCache:
    """One layer's keys and values in tensors allocated once."""

    def __init__(self, owner: "Cache", shape: tuple[int, ...], like: Tensor) -> None:
        self.owner = owner
        self.k = torch.zeros(shape, dtype=like.dtype, device=like.device)
        self.v = torch.zeros_like(self.k)

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Write behind what is there; the views returned end at the newest position."""
        start = self.owner.length
        end = start + k.size(2)
        self.k[:, :, start:end] = k
        self.v[:, :, start:end] = v
        return self.k[:, :, :end], self.v[:, :, :end]


class Cache:
    """A preallocated cache of a whole model; `GPT` advances it once a forward pass."""

    def __init__(
        self, n_layer: int, batch: int, n_kv_head: int, capacity: int, head_width: int, like: Tensor
    ) -> None:
        """Room for `capacity` positions, with dtype and device of `like`."""
        self.length = 0
        self.capacity = capacity
        shape = (batch, n_kv_head, capacity, head_width)
        self.layers = [FixedLayerCache(self, shape, like) for _ in range(n_layer)]

    def positions(self, T: int) -> tuple[Tensor, Tensor]:
        """(T) and (S): places are positions."""
        places = torch.arange(self.length + T, device=self.layers[0].k.device)
        return places[self.length :], places

    def mask(self, T: int) -> Tensor | None:
        """Needed only where several new positions follow old ones."""
        if T == 1 or self.length == 0:
            return None
        return causal_mask(T, self.length + T, self.layers[0].k.device)

    def advance(self, T: int) -> None:
        """Count T new positions."""
        self.length += T


class GrowingLayerCache:
    """One layer's keys and values, grown by concatenation."""

    def __init__(self, k: Tensor, v: Tensor) -> None:
        self.k = k
        self.v = v

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append; the tensors given at the start are not changed."""
        self.k = torch.cat((self.k, k), dim=2)
        self.v = torch.cat((self.v, v), dim=2)
        return self.k, self.v


class GrowingCache:
    """A cache without side effects on its inputs, the form that graph exporters can trace.

    Its rows may have different lengths. Its mask is always explicit, so that no branch depends on a
    length.
    """

    def __init__(self, past: Sequence[tuple[Tensor, Tensor]], tokens: Tensor | None = None) -> None:
        """Start from `past` for one forward pass.

        Args:
            past: keys and values of each layer, (B, K, past, D).
            tokens: (B, S) with the new places, 1 where a token is and 0 where padding is, wherever
                that stands; None: no padding.
        """
        self.length = past[0][0].size(2)
        self.layers = [GrowingLayerCache(k, v) for k, v in past]
        self.tokens = tokens

    def positions(self, T: int) -> tuple[Tensor, Tensor]:
        """Tokens are counted from 0 in each row; padding counts for nothing."""
        if self.tokens is None:
            places = torch.arange(self.length + T, device=self.layers[0].k.device)
        else:
            places = (self.tokens.cumsum(1) - 1).clamp(min=0)
        return places[..., self.length :], places

    def mask(self, T: int) -> Tensor:
        """(T, S), or (B, 1, T, S) where there may be padding."""
        places = torch.arange(self.length + T, device=self.layers[0].k.device)
        new = places[self.length :, None]
        causal = new >= places
        if self.tokens is None:
            return causal
        # Padding sees itself, so that its softmax has something to divide by.
        return causal & self.tokens.bool()[:, None, None] | (new == places)

    def advance(self, T: int) -> None:
        """Count T new positions."""
        self.length += T


def causal_mask(T: int, S: int, device: torch.device) -> Tensor:
    """(T, S), true where the last T of S positions may look: at themselves and what is before."""
    return torch.arange(S - T, S, device=device)[:, None] >= torch.arange(S, device=device)
