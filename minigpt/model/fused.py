"""From plain modules to the steps of `ops`, where these apply.

Adapters and quantization swap Linear modules for others; such a model takes the plain path by
itself, because only exact types fit. So does one with biases, or without norms a head.
"""

import torch
from torch import Tensor, nn

from minigpt.model import ops
from minigpt.model.attention import Attention
from minigpt.model.mlp import Swiglu
from minigpt.model.position import Tables

PLAIN = (nn.Linear, nn.RMSNorm)


def fits(x: Tensor, *modules: nn.Module) -> bool:
    """Whether `ops` can stand for these modules on x: Linear and RMSNorm in bf16 on a CPU."""
    return (
        x.dtype == torch.bfloat16
        and x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and all(
            type(m) in PLAIN
            and m.weight.dtype == torch.bfloat16
            and getattr(m, "bias", None) is None
            for m in modules
        )
    )


def add_attention(
    x: Tensor, norm: nn.Module, attention: nn.Module, tables: Tables | None
) -> Tensor | None:
    """(B, T, C) -> x + attention(norm(x)) over whole sequences; None where `ops` does not fit."""
    if not (isinstance(norm, nn.RMSNorm) and isinstance(attention, Attention) and tables):
        return None
    q, k, v = attention.q, attention.k, attention.v
    q_norm, k_norm = attention.q_norm, attention.k_norm
    if not (isinstance(q_norm, nn.RMSNorm) and isinstance(k_norm, nn.RMSNorm)):
        return None
    if not fits(x, norm, q, k, v, attention.out, q_norm, k_norm):
        return None
    if not norm.eps == q_norm.eps == k_norm.eps:
        return None
    H, K, D = attention.n_head, attention.n_kv_head, attention.head_width
    scales = torch.cat(
        (q_norm.weight.float() * D**-0.5 * x.new_ones(H, 1), k_norm.weight * x.new_ones(K, 1))
    )  # (H + K, D)
    cos, sin = (table[:, None] for table in tables)  # (T, 1, D)
    sin = torch.cat((-sin[..., : D // 2], sin[..., D // 2 :]), -1)
    turn = (cos * scales).to(x.dtype), (sin * scales.roll(D // 2, -1)).to(x.dtype)
    w_in = torch.cat((q.weight, k.weight, v.weight)) * norm.weight
    return ops.attention(x, w_in, attention.out.weight, turn, H, norm.eps or 0.0)


def add_mlp(x: Tensor, norm: nn.Module, mlp: nn.Module) -> Tensor | None:
    """(B, T, C) -> x + mlp(norm(x)); None where `ops` does not fit."""
    if not (isinstance(norm, nn.RMSNorm) and isinstance(mlp, Swiglu)):
        return None
    if not fits(x, norm, mlp.gate, mlp.up, mlp.down):
        return None
    w_in = torch.cat((mlp.gate.weight, mlp.up.weight)) * norm.weight
    return ops.swiglu(x, w_in, mlp.down.weight, norm.eps or 0.0)


def loss_sum(x: Tensor, norm: nn.Module, head: nn.Linear, targets: Tensor) -> Tensor | None:
    """Summed cross-entropy of head(norm(x)); None where `ops` does not fit."""
    if not (isinstance(norm, nn.RMSNorm) and fits(x, norm, head)):
        return None
    return ops.head_loss(x, head.weight * norm.weight, targets, norm.eps or 0.0)
