"""First weights of a model: each block starts as the identity, the head as a uniform guess."""

import math

import torch
from torch import nn

from minigpt.model.gpt import GPT

Q_NORM = 0.96
"""Makes the first attention scale 0.12 at head width 64 (0.125 without); the recipe's value."""
OUTPUTS = ("attention.out", "mlp.down", "head")
"""Linear layers that start at zero, so that a block adds nothing at first (arXiv:2203.03466)."""


@torch.no_grad()
def init_weights(model: GPT) -> None:
    """Draw the weights in place from torch's global random state, in order of their names."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            if name.endswith(OUTPUTS):
                module.weight.zero_()
            else:
                bound = math.sqrt(3 * 0.5 / module.in_features)  # uniform of std sqrt(0.5/fan_in)
                module.weight.uniform_(-bound, bound)
        elif isinstance(module, nn.RMSNorm | nn.LayerNorm):
            module.weight.fill_(Q_NORM if name.endswith("q_norm") else 1)
        if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
            module.bias.zero_()
    model.embed.weight.normal_()
    if model.config.tied:  # one table is both, and a guess of width n_embd should start small
        model.embed.weight.mul_(model.config.n_embd**-0.5)
