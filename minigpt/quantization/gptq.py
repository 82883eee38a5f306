"""Rounding fitted to text (GPTQ, arXiv:2210.17323): the least squared error of a layer's outputs.

What rounding a column of a matrix does to the outputs is made good in the columns behind it, which
are not rounded yet. Shapes: R rows (outputs), C columns (inputs), N tokens.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from minigpt.model.gpt import GPT
from minigpt.quantization.layers import QuantizedLinear
from minigpt.quantization.scale import best_scale, encode

DAMPING = 0.01
"""Added to the squares of the inputs, as a share of their mean: so few tokens say nothing for sure
(the paper's value; 0.1 measured the same)."""
BLOCK = 128
"""Columns between two updates of all columns behind."""


def gptq(
    weight: Tensor, group: int, low: int, high: int, *, squares: Tensor
) -> tuple[Tensor, Tensor]:
    """A `Rounding` for a layer whose inputs x (N, C) have xᵀx = `squares` (C, C)."""
    weight, factor = weight.clone(), inverse_factor(squares)
    codes, scales = torch.empty_like(weight), list[Tensor]()
    columns, block = weight.size(1), min(group, BLOCK)
    for start in range(0, columns, block):
        if start % group == 0:
            scales.append(best_scale(weight[:, start : start + group], low, high))  # (R, 1)
        end = min(start + block, columns)
        errors = weight.new_empty(len(weight), end - start)
        for i in range(start, end):
            column = weight[:, i : i + 1].clone()
            codes[:, i : i + 1] = code = encode(column, scales[-1], low, high)
            error = (column - code * scales[-1].float()) / factor[i, i]
            weight[:, i:end] -= error * factor[i, i:end]
            errors[:, i - start : i - start + 1] = error
        weight[:, end:] -= errors @ factor[start:end, end:]
    return codes, torch.cat(scales, dim=1)


def inverse_factor(squares: Tensor) -> Tensor:
    """(C, C) -> upper triangular U with UᵀU the inverse of the damped squares."""
    damped = squares.double()
    damped.diagonal().add_((DAMPING * damped.diagonal().mean()).clamp_min(1e-30))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


@torch.no_grad()
def calibrate(model: GPT, quantized: GPT, ids: Tensor, progress: Callable[[str], None]) -> None:
    """Fill the linear layers of `quantized`, an empty copy of `model`, over (B, T) `ids`.

    Each is fitted to the inputs it gets from the layers before it as they are rounded. A head that
    is tied to the embedding is left as it is.
    """
    stand_ins = {}
    for name, layer in quantized.named_modules():
        original = model.get_submodule(name)
        if isinstance(layer, QuantizedLinear) and isinstance(original, nn.Linear):
            stand_ins[name] = _Fitting(layer, original.weight, partial(progress, name))
    if model.config.tied:
        stand_ins.pop("head", None)
    for name, stand_in in stand_ins.items():
        quantized.set_submodule(name, stand_in)
    x = quantized.norm(quantized.hidden(ids))
    if "head" in stand_ins:
        stand_ins["head"].fit(x)  # no need of the logits, large for so many tokens
    for name, stand_in in stand_ins.items():
        quantized.set_submodule(name, stand_in.layer)


class _Fitting(nn.Module):
    """Stands where a quantized layer will be, and fills it when its inputs come."""

    def __init__(self, layer: QuantizedLinear, weight: Tensor, begin: Callable[[], None]) -> None:
        super().__init__()
        self.layer, self.original, self.begin = layer, weight, begin

    def fit(self, x: Tensor) -> None:
        """Fill the layer for inputs (…, C)."""
        self.begin()
        inputs = x.flatten(0, -2).float()
        self.layer.fill(self.original, partial(gptq, squares=inputs.T @ inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(…, C) -> (…, R), as the filled layer does."""
        self.fit(x)
        y: Tensor = self.layer(x)
        return y
