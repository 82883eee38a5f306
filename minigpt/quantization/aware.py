"""Training with the rounding in place, so that weights learn to be rounded (arXiv:1712.05877).

Forward multiplies by what a weight's code stands for; backward takes rounding for the identity
(straight-through, arXiv:1308.3432). Scales stay what they are.
"""

import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt.model.gpt import GPT
from minigpt.quantization.layers import QuantizedEmbedding, QuantizedLinear, QuantizedWeight
from minigpt.quantization.scale import encode


class _Rounded(nn.Module):
    """A trainable weight that is seen only through the codes of a quantized layer."""

    scale: Tensor
    weight: nn.Parameter

    def __init__(self, layer: QuantizedWeight) -> None:
        super().__init__()
        self.weight = nn.Parameter(layer.weight)
        self.group, self.low, self.high = layer.grid
        self.register_buffer("scale", layer.scale.float().unsqueeze(-1))  # (rows, groups, 1)

    def rounded(self) -> Tensor:
        """(rows, columns): the rounded weight, with the gradient of the weight itself."""
        weight = self.weight
        groups = weight.detach().view(len(weight), -1, self.group)
        codes = encode(groups, self.scale, self.low, self.high)
        return weight + ((codes * self.scale).view_as(weight) - weight.detach())


class _RoundedLinear(_Rounded):
    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.rounded())


class _RoundedEmbedding(_Rounded):
    @property
    def num_embeddings(self) -> int:
        return len(self.weight)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.rounded())


def trainable(quantized: GPT) -> GPT:
    """A model that computes as `quantized` does and can be trained."""
    model = copy.deepcopy(quantized).train()
    for name, layer in quantized.named_modules():
        if isinstance(layer, QuantizedEmbedding):
            model.set_submodule(name, _RoundedEmbedding(layer))
        elif isinstance(layer, QuantizedLinear):
            model.set_submodule(name, _RoundedLinear(layer))
    if model.config.tied:
        model.head.weight = model.embed.weight
    return model


@torch.no_grad()
def take(quantized: GPT, trained: GPT) -> None:
    """Give `quantized` the codes, and what is not quantized, of the model that was trained."""
    for name, layer in quantized.named_modules():
        if isinstance(layer, QuantizedWeight):
            layer.fill(trained.get_parameter(f"{name}.weight"), partial(_as_scaled, layer.scale))
    floats = {name: parameter.data for name, parameter in trained.named_parameters()}
    for name, parameter in quantized.named_parameters():
        parameter.copy_(floats[name])


def _as_scaled(
    scale: Tensor, weight: Tensor, group: int, low: int, high: int
) -> tuple[Tensor, Tensor]:
    """A `Rounding` by scales that are given."""
    groups = weight.view(len(weight), -1, group)
    return encode(groups, scale.unsqueeze(-1), low, high).flatten(-2), scale
