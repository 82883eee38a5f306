"""Rounding without calibration: each weight to its nearest code, each scale found by trying."""

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from minigpt.quantization.scale import best_scale, encode

Rounding: TypeAlias = Callable[[Tensor, int, int, int], tuple[Tensor, Tensor]]
"""(rows, columns) fp32 weights, neighbours that share a scale, lowest and highest code ->
(rows, columns) codes as floats, (rows, columns / neighbours) fp16 scales."""


def nearest(weight: Tensor, group: int, low: int, high: int) -> tuple[Tensor, Tensor]:
    """A `Rounding`: the least squared error of the weights."""
    groups = weight.view(len(weight), -1, group)  # (rows, groups, G)
    scale = best_scale(groups, low, high)  # (rows, groups, 1)
    return encode(groups, scale, low, high).flatten(-2), scale.squeeze(-1)
