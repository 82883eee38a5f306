"""Weight-only int8: one symmetric fp16 scale a row (an output channel, or a token's embedding)."""

import torch
from torch import Tensor

from minigpt.quantization.nearest import Rounding, nearest

LOW, HIGH = -127, 127


def to_int8(weight: Tensor, rounding: Rounding = nearest) -> tuple[Tensor, Tensor]:
    """(rows, columns) floats -> (rows, columns) int8 codes, (rows, 1) fp16 scales."""
    codes, scale = rounding(weight.detach().float(), weight.size(1), LOW, HIGH)
    return codes.to(torch.int8), scale


def from_int8(codes: Tensor, scale: Tensor) -> Tensor:
    """(rows, columns) int8, (rows, 1) fp16 -> (rows, columns) fp32."""
    return codes.float() * scale.float()
