"""Weight-only int8: one symmetric fp16 scale a row (an output channel, or a token's embedding)."""

import torch
from torch import Tensor

from minigpt.quantization.scale import best_scale, encode

LOW, HIGH = -127, 127


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(rows, columns) floats -> (rows, columns) int8 codes, (rows, 1) fp16 scales."""
    weight = weight.detach().float()
    scale = best_scale(weight, LOW, HIGH)
    return encode(weight, scale, LOW, HIGH).to(torch.int8), scale


def from_int8(codes: Tensor, scale: Tensor) -> Tensor:
    """(rows, columns) int8, (rows, 1) fp16 -> (rows, columns) fp32."""
    return codes.float() * scale.float()
