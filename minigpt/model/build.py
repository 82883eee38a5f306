"""From a config to a model: the only place that looks at `kind`."""

import torch
from torch import nn

from minigpt.model.attention import Attention
from minigpt.model.block import Block
from minigpt.model.config import GeluMlp, LayerNorm, ModelConfig, RmsNorm, SwigluMlp
from minigpt.model.gpt import GPT, NormalizedEmbedding
from minigpt.model.init import init_weights
from minigpt.model.mlp import Gelu, Swiglu
from minigpt.model.position import Position

QK_NORM_EPS = 1e-6
"""Qwen3 has one number for all of its norms; this is what it is there."""


def build_model(config: ModelConfig, vocab_size: int, seed: int) -> GPT:
    """A new model in fp32 on the CPU: the same seed gives the same weights.

    torch's global random state is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = empty_model(config, vocab_size)
        init_weights(model)
    return model


def empty_model(config: ModelConfig, vocab_size: int) -> GPT:
    """The modules alone; their weights hold nothing of use yet."""
    embedding = NormalizedEmbedding if config.embedding_norm else nn.Embedding
    embed = embedding(vocab_size, config.n_embd)
    blocks = [build_block(config) for _ in range(config.n_layer)]
    head = nn.Linear(config.n_embd, vocab_size, bias=False)
    if config.tied:
        head.weight = embed.weight
    position = Position(config.position, config.sizes)
    return GPT(config, embed, position, blocks, build_norm(config), head)


def build_block(config: ModelConfig) -> Block:
    """One layer."""
    attention = Attention(
        config.n_embd,
        config.n_head,
        config.n_kv_head,
        config.head_width,
        q_norm=build_head_norm(config),
        k_norm=build_head_norm(config),
        bias=config.bias,
    )
    return Block(build_norm(config), attention, build_norm(config), build_mlp(config))


def build_head_norm(config: ModelConfig) -> nn.Module:
    """Normalisation of the queries or keys of a head, if there is one."""
    return nn.RMSNorm(config.head_width, eps=QK_NORM_EPS) if config.qk_norm else nn.Identity()


def build_norm(config: ModelConfig) -> nn.Module:
    """Normalisation of the residual stream."""
    match config.norm:
        case RmsNorm(eps=eps):
            return nn.RMSNorm(config.n_embd, eps=eps)
        case LayerNorm(eps=eps):
            return nn.LayerNorm(config.n_embd, eps=eps, bias=config.bias)


def build_mlp(config: ModelConfig) -> nn.Module:
    """The MLP of one block."""
    match config.mlp:
        case SwigluMlp():
            return Swiglu(config.n_embd, config.mlp_dim, config.bias)
        case GeluMlp():
            return Gelu(config.n_embd, config.mlp_dim, config.bias)
