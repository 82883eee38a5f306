"""Sizes known before a model exists: parameters and arithmetic. Imports no torch."""

import math

from minigpt.model.config import LayerNorm, ModelConfig, SwigluMlp


def parameters(config: ModelConfig, vocab_size: int) -> int:
    """Trainable numbers, each counted once (a tied table too)."""
    norms = (2 * config.n_layer + 1) * config.n_embd
    vectors = norms + 2 * config.n_layer * config.head_width * config.qk_norm
    if config.bias:
        vectors += config.n_layer * block_rows(config)
        vectors += norms if isinstance(config.norm, LayerNorm) else 0
    positions = sum(math.prod(shape) for shape in config.position.weights(config.sizes).values())
    tables = (1 if config.tied else 2) * vocab_size * config.n_embd
    return config.n_layer * block_matrices(config) + vectors + positions + tables


def columns(config: ModelConfig) -> dict[str, int]:
    """Length of a row of every matrix, by its layer's name in the model."""
    gate = ("gate",) if isinstance(config.mlp, SwigluMlp) else ()
    block = {f"attention.{name}": config.n_embd for name in ("q", "k", "v")}
    block |= {"attention.out": config.n_head * config.head_width}
    block |= {f"mlp.{name}": config.n_embd for name in (*gate, "up")} | {"mlp.down": config.mlp_dim}
    blocks = {f"blocks.{i}.{k}": v for i in range(config.n_layer) for k, v in block.items()}
    return {"embed": config.n_embd, **blocks, "head": config.n_embd}


def flops_per_token(config: ModelConfig, vocab_size: int, length: int) -> int:
    """Operations of forward and backward for one token of a sequence of `length`.

    6 a weight of a matrix product and 12·H·D·T a layer for attention, as MFU is usually counted
    (PaLM, arXiv:2204.02311, appendix B); looking up an embedding costs nothing.
    """
    weights = config.n_layer * block_matrices(config) + vocab_size * config.n_embd
    attention = 12 * config.n_layer * config.n_head * config.head_width * length
    return 6 * weights + attention


def block_rows(config: ModelConfig) -> int:
    """Rows of one block's matrices: a bias has a number for each."""
    heads = (config.n_head + 2 * config.n_kv_head) * config.head_width
    inner = 2 if isinstance(config.mlp, SwigluMlp) else 1
    return heads + inner * config.mlp_dim + 2 * config.n_embd


def block_matrices(config: ModelConfig) -> int:
    """Weights of one block's matrices."""
    heads = 2 * config.n_head + 2 * config.n_kv_head  # q and out, k and v
    matrices = 3 if isinstance(config.mlp, SwigluMlp) else 2
    return config.n_embd * (heads * config.head_width + matrices * config.mlp_dim)
