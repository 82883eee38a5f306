"""The step between two codes of a group of weights, found by trying: fp16, least squared error."""

import torch
from torch import Tensor

RATIOS = [1.2 - 0.025 * i for i in range(29)]
"""Tried, of the step that lets the widest weight have the lowest code: 1.2 … 0.5."""
SMALLEST, LARGEST = 2.0**-24, 65504.0  # fp16's positive numbers: a group of zeros still divides


def best_scale(groups: Tensor, low: int, high: int) -> Tensor:
    """(…, G) weights -> (…, 1) fp16 scales for codes low..high.

    Each trial's codes choose their own best scale (least squares). Both signs are tried: with -8..7
    a negative scale gives the longer side to positive weights.
    """
    widest = groups.abs().amax(-1, keepdim=True) / -low  # (…, 1)
    best = torch.full_like(widest, SMALLEST).half()
    least = torch.full_like(widest, torch.inf)
    for sign in (1,) if low == -high else (1, -1):
        for ratio in RATIOS:
            codes = encode(groups, representable(widest * ratio).mul(sign), low, high)
            fitted = (codes * groups).sum(-1, keepdim=True) / codes.square().sum(-1, keepdim=True)
            scale = representable(fitted.mul(sign).nan_to_num(0.0)).mul(sign)
            error = encode(groups, scale, low, high).mul_(scale).sub_(groups).square_()
            squared = error.sum(-1, keepdim=True)
            better = squared < least
            best, least = (
                torch.where(better, scale.half(), best),
                torch.where(better, squared, least),
            )
    return best


def representable(scale: Tensor) -> Tensor:
    """Positive numbers, as fp16 holds them, in fp32."""
    return scale.clamp(SMALLEST, LARGEST).half().float()


def encode(groups: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """(…, G) weights, (…, 1) scales -> (…, G) whole numbers low..high, as floats."""
    return (groups / scale.float()).round_().clamp_(low, high)
