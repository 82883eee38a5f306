"""Hand-written steps for training in bf16 on a CPU, each with its backward pass.

Eager torch loses half of such a step to elementwise passes over memory, and its bf16
`scaled_dot_product_attention` runs backward several times slower than written-out products.
These functions keep activations in bf16 and sums in fp32; tests hold them to the plain modules.

Shapes: B batch, T positions, N = B·T, C width, H heads, K kv heads, G = H / K, D head width,
M MLP width, V vocabulary.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

BLOCK = 128
"""Queries handled at once; keys after the end of a block are never multiplied."""
LOGITS = 2**22
"""Logits held at once."""

TINY = torch.finfo(torch.float32).tiny
"""Stands for a probability that rounds to zero, so that its logarithm is finite."""

aten = torch.ops.aten


def embedding(ids: Tensor, table: Tensor, eps: float) -> Tensor:
    """(B, T) ids -> (B, T, C) rows of `table` (V, C), each divided by its root mean square."""
    y: Tensor = _Embedding.apply(ids, table, eps)  # type: ignore[no-untyped-call]
    return y


def attention(
    x: Tensor, w_in: Tensor, w_out: Tensor, turn: tuple[Tensor, Tensor], n_head: int, eps: float
) -> Tensor:
    """Add causal attention over rms(x) to x; queries and keys are RMS-normalised a head.

    Args:
        x: (B, T, C), the residual stream.
        w_in: ((H + 2K)·D, C), query, key and value rows, times the weight of the norm before.
        w_out: (C, H·D).
        turn: (T, H + K, D) each, what heads and their half-rolled selves are multiplied by:
            rotary tables times the weights of the head norms and the scale of the scores.
        n_head: H.
        eps: added to every mean square.
    """
    y: Tensor = _Attention.apply(x, w_in, w_out, *turn, n_head, eps)  # type: ignore[no-untyped-call]
    return y


def swiglu(x: Tensor, w_in: Tensor, w_out: Tensor, eps: float) -> Tensor:
    """(B, T, C) -> x + down(silu(gate(y))·up(y)) of y = rms(x).

    `w_in` (2M, C) is gate over up, times the weight of the norm before; `w_out` is (C, M).
    """
    y: Tensor = _Swiglu.apply(x, w_in, w_out, eps)  # type: ignore[no-untyped-call]
    return y


def head_loss(x: Tensor, weight: Tensor, targets: Tensor, eps: float) -> Tensor:
    """(B, T, C), (V, C), (B, T) -> summed cross-entropy in nats of targets that are not negative.

    `weight` is the head's, times the weight of the norm before. The gradients are made in forward
    while the probabilities are at hand, so that no logit is kept.
    """
    needed = torch.is_grad_enabled()
    y: Tensor = _HeadLoss.apply(x, weight, targets, eps, needed)  # type: ignore[no-untyped-call]
    return y


def inverse_rms(x: Tensor, eps: float) -> Tensor:
    """(…, 1) in x's dtype, summed in fp32."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    scale: Tensor = norm.square_().div_(x.size(-1)).add_(eps).rsqrt_().to(x.dtype)
    return scale


def inverse_rms_backward(grad: Tensor, y: Tensor, scale: Tensor) -> Tensor:
    """Gradient of x from that of y = x·scale, scale = inverse_rms(x)."""
    along = (grad * y).sum(-1, keepdim=True).div_(y.size(-1))
    return torch.addcmul(grad, y, along, value=-1).mul_(scale)


def to_groups(heads: Tensor, K: int) -> Tensor:
    """(B, t, H, D) -> (B·K, G·t, D): the heads that share keys, under each other."""
    B, t, H, D = heads.shape
    grouped = heads.view(B, t, K, H // K, D).permute(0, 2, 3, 1, 4)
    return grouped.reshape(B * K, H // K * t, D)


def from_groups(grouped: Tensor, heads: Tensor) -> None:
    """Write (B·K, G·t, D) to the (B, t, H, D) view `heads`."""
    B, t, H, D = heads.shape
    K = grouped.size(0) // B
    grouped = grouped.view(B, K, H // K, t, D).permute(0, 3, 1, 2, 4)
    heads.view(B, t, K, H // K, D).copy_(grouped)


@lru_cache(maxsize=8)
def triangle(size: int, dtype: torch.dtype) -> Tensor:
    """(size, size) of minus infinity above the diagonal, zero elsewhere."""
    return torch.full((size, size), float("-inf"), dtype=dtype).triu_(1)


class _Embedding(Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, table: Tensor, eps: float) -> Tensor:
        rows = F.embedding(ids, table)
        scale = inverse_rms(rows, eps)
        y = rows * scale
        ctx.save_for_backward(ids, y, scale)
        ctx.shape = table.shape
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor, None]:
        ids, y, scale = ctx.saved_tensors
        rows = inverse_rms_backward(grad, y, scale).flatten(0, 1).float()  # (N, C)
        table = torch.zeros(ctx.shape).index_add_(0, ids.flatten(), rows)
        return None, table.to(grad.dtype), None


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        w_in: Tensor,
        w_out: Tensor,
        straight: Tensor,
        rolled: Tensor,
        n_head: int,
        eps: float,
    ) -> Tensor:
        B, T, C = x.shape
        H, D = n_head, straight.size(-1)
        K = straight.size(1) - H
        G = H // K
        x = x.reshape(B * T, C)
        scale = inverse_rms(x, eps)
        y = x * scale
        qkv = F.linear(y, w_in).view(B, T, H + 2 * K, D)
        heads = qkv[:, :, : H + K]
        head_scale = inverse_rms(heads, eps)
        unit = heads * head_scale
        turned = torch.addcmul(unit * straight, torch.roll(unit, D // 2, -1), rolled)
        k = turned[:, :, H:].transpose(1, 2).reshape(B * K, T, D)
        v = qkv[:, :, H + K :].transpose(1, 2).reshape(B * K, T, D)
        seen = x.new_empty(B, T, H * D)
        block_tensors = []
        for start in range(0, T, BLOCK):
            end = min(start + BLOCK, T)
            q = to_groups(turned[:, start:end, :H], K)  # (B·K, G·t, D)
            scores = torch.bmm(q, k[:, :end].mT)  # (B·K, G·t, end)
            ahead = scores.view(B * K, G, end - start, end)[..., start:]
            ahead.add_(triangle(end - start, x.dtype))
            weights = torch.softmax(scores, -1)
            block_tensors += [q, weights]
            from_groups(torch.bmm(weights, v[:, :end]), seen[:, start:end].view(B, -1, H, D))
        seen = seen.view(B * T, H * D)
        ctx.save_for_backward(
            y, scale, head_scale, unit, k, v, seen, w_in, w_out, straight, rolled, *block_tensors
        )
        ctx.sizes = (B, T, H, K, D)
        return torch.addmm(x, seen, w_out.t()).view(B, T, C)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, scale, head_scale, unit, k, v, seen, w_in, w_out, straight, rolled, *block_tensors = (
            ctx.saved_tensors
        )
        B, T, H, K, D = ctx.sizes
        shape = grad.shape
        grad = grad.reshape(B * T, -1)
        d_seen = (grad @ w_out).view(B, T, H, D)
        d_w_out = grad.t() @ seen
        d_turned = torch.empty_like(unit)
        d_k, d_v = torch.zeros_like(k), torch.zeros_like(v)
        for i, start in enumerate(range(0, T, BLOCK)):
            end = min(start + BLOCK, T)
            q, weights = block_tensors[2 * i], block_tensors[2 * i + 1]
            d = to_groups(d_seen[:, start:end], K)
            d_scores = aten._softmax_backward_data(
                torch.bmm(d, v[:, :end].mT), weights, -1, grad.dtype
            )
            from_groups(torch.bmm(d_scores, k[:, :end]), d_turned[:, start:end, :H])
            d_k[:, :end] += torch.bmm(d_scores.mT, q)
            d_v[:, :end] += torch.bmm(weights.mT, d)
        d_turned[:, :, H:] = d_k.view(B, K, T, D).transpose(1, 2)
        d_straight = d_rolled = None
        if ctx.needs_input_grad[3]:
            d_straight = (d_turned * unit).sum(0)
            d_rolled = (d_turned * torch.roll(unit, D // 2, -1)).sum(0)
        # roll undoes itself: it moves by half of D
        d_unit = torch.addcmul(
            d_turned * straight, torch.roll(d_turned, D // 2, -1), torch.roll(rolled, D // 2, -1)
        )
        d_qkv = grad.new_empty(B, T, H + 2 * K, D)
        d_qkv[:, :, : H + K] = inverse_rms_backward(d_unit, unit, head_scale)
        d_qkv[:, :, H + K :] = d_v.view(B, K, T, D).transpose(1, 2)
        d_qkv = d_qkv.view(B * T, -1)
        d_w_in = d_qkv.t() @ y
        d_x = inverse_rms_backward(d_qkv @ w_in, y, scale).add_(grad).view(shape)
        return d_x, d_w_in, d_w_out, d_straight, d_rolled, None, None


class _Swiglu(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w_in: Tensor, w_out: Tensor, eps: float) -> Tensor:
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        scale = inverse_rms(x, eps)
        y = x * scale
        both = F.linear(y, w_in)  # (N, 2M)
        gate, up = both.chunk(2, dim=-1)
        open_ = F.silu(gate)
        inner = open_ * up
        ctx.save_for_backward(y, scale, both, open_, inner, w_in, w_out)
        return torch.addmm(x, inner, w_out.t()).view(shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, scale, both, open_, inner, w_in, w_out = ctx.saved_tensors
        shape = grad.shape
        grad = grad.reshape(-1, shape[-1])
        gate, up = both.chunk(2, dim=-1)
        d_inner = grad @ w_out
        d_w_out = grad.t() @ inner
        d_both = torch.empty_like(both)
        d_gate, d_up = d_both.chunk(2, dim=-1)
        torch.mul(d_inner, open_, out=d_up)
        aten.silu_backward.grad_input(d_inner.mul_(up), gate, grad_input=d_gate)
        d_w_in = d_both.t() @ y
        d_x = inverse_rms_backward(d_both @ w_in, y, scale).add_(grad).view(shape)
        return d_x, d_w_in, d_w_out, None


class _HeadLoss(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, targets: Tensor, eps: float, needed: bool
    ) -> Tensor:
        shape = x.shape
        x = x.reshape(-1, shape[-1])
        targets = targets.flatten()
        scale = inverse_rms(x, eps)
        y = x * scale
        counted = (targets >= 0).to(x.dtype)
        V, C = weight.shape
        d_y, d_weight = torch.empty_like(y), weight.new_zeros(C, V)
        loss = torch.zeros((), dtype=torch.float32)
        for start in range(0, x.size(0), max(1, LOGITS // V)):
            rows = slice(start, start + max(1, LOGITS // V))
            p = torch.softmax(F.linear(y[rows], weight), -1)  # (rows, V)
            flat = p.view(-1)
            place = torch.arange(p.size(0)) * V + targets[rows].clamp_min(0)
            right = flat[place]
            loss -= torch.dot(right.float().clamp_min_(TINY).log_(), counted[rows].float())
            if needed:
                # p becomes d_logits; scatter_ takes 500 times as long for the same.
                flat.index_copy_(0, place, right - 1)
                torch.mul(p @ weight, counted[rows, None], out=d_y[rows])
                # Transposing the narrow factor is cheaper than transposing the wide one.
                d_weight += (y[rows] * counted[rows, None]).t().contiguous() @ p
        if needed:
            ctx.save_for_backward(d_y, d_weight, y, scale)
            ctx.shape = shape
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        d_y, d_weight, y, scale = ctx.saved_tensors
        d_x = inverse_rms_backward(d_y * grad, y, scale).view(ctx.shape)
        return d_x, (d_weight * grad).t(), None, None, None
