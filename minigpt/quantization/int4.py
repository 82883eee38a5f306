"""Weight-only 4-bit: one fp16 scale a group of neighbouring weights, two codes a byte.

A byte holds columns 2i (low half) and 2i + 1 (high half); 8 stands for zero.
"""

import torch
from torch import Tensor

from minigpt.quantization.nearest import Rounding, nearest

LOW, HIGH = -8, 7


def to_int4(weight: Tensor, group_size: int, rounding: Rounding = nearest) -> tuple[Tensor, Tensor]:
    """(rows, columns) floats -> (rows, columns / 2) uint8, (rows, columns / group_size) fp16."""
    codes, scale = rounding(weight.detach().float(), group_size, LOW, HIGH)
    return pack(codes), scale


def from_int4(codes: Tensor, scale: Tensor) -> Tensor:
    """(…, columns / 2) uint8, (…, groups) fp16 -> (…, columns) fp32."""
    groups = unpack(codes).view(*scale.shape, -1)  # (…, groups, G)
    return (groups * scale.float().unsqueeze(-1)).flatten(-2)


def pack(codes: Tensor) -> Tensor:
    """(…, columns) whole numbers -8..7 -> (…, columns / 2) uint8."""
    low, high = (codes - LOW).to(torch.uint8).view(*codes.shape[:-1], -1, 2).unbind(-1)
    return low | (high << 4)


def unpack(codes: Tensor) -> Tensor:
    """(…, columns / 2) uint8 -> (…, columns) fp32 whole numbers -8..7."""
    return torch.stack((codes & 15, codes >> 4), -1).flatten(-2).float() + LOW
