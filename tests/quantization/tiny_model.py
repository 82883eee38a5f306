"""A model small enough for tests whose every weight says something (a new one has zeros)."""

import torch

from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig

SIZES = ModelConfig(n_layer=2, n_embd=64, n_head=4, n_kv_head=2, mlp_dim=96, context_length=32)


def tiny(config=SIZES):
    model = build_model(config, vocab_size=50, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return model.eval()
