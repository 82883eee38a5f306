"""Grouped-query attention; its queries and keys may be normalised (Qwen3, arXiv:2505.09388).

Shapes: B batch, T new positions, S cached + new, C width, H heads, K kv heads, D head width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.model.cache import LayerCache
from minigpt.model.position import Tables, turn


class Attention(nn.Module):
    """Causal self-attention of the positions of one sequence."""

    def __init__(
        self,
        n_embd: int,
        n_head: int,
        n_kv_head: int,
        head_width: int,
        q_norm: nn.Module,
        k_norm: nn.Module,
        bias: bool,
    ) -> None:
        super().__init__()
        self.n_head = n_head
        self.n_kv_head = n_kv_head
        self.head_width = head_width
        self.q = nn.Linear(n_embd, n_head * head_width, bias)
        self.k = nn.Linear(n_embd, n_kv_head * head_width, bias)
        self.v = nn.Linear(n_embd, n_kv_head * head_width, bias)
        self.out = nn.Linear(n_head * head_width, n_embd, bias)
        self.q_norm = q_norm
        self.k_norm = k_norm

    def forward(
        self,
        x: Tensor,
        tables: Tables | None = None,
        cache: LayerCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C). With a cache, x holds only the new positions.

        `tables` are those of the T positions. `mask` is (T, S) or (B, 1, T, S), true where a
        position may look, or (…, H, T, S), added to the scores; None: causal with S = T, or T is 1.
        """
        B, T, _ = x.shape
        q = self.q_norm(self.q(x).view(B, T, self.n_head, self.head_width)).transpose(1, 2)
        k = self.k_norm(self.k(x).view(B, T, self.n_kv_head, self.head_width)).transpose(1, 2)
        v = self.v(x).view(B, T, self.n_kv_head, self.head_width).transpose(1, 2)  # (B, K, T, D)
        if tables is not None:
            q, k = turn(q, tables), turn(k, tables)
        if cache is not None:
            k, v = cache.extend(k, v)  # (B, K, S, D)
        y = attend(q, k, v, mask)  # (B, H, T, D)
        out: Tensor = self.out(y.transpose(1, 2).reshape(B, T, self.n_head * self.head_width))
        return out


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """(B, H, T, D) queries over (B, K, S, D) keys and values -> (B, H, T, D)."""
    B, H, T, D = q.shape
    K = k.size(1)
    if mask is None and T == 1:
        # One position sees all of S, so the heads of a group can stand as its queries.
        return F.scaled_dot_product_attention(q.view(B, K, H // K, D), k, v).view(B, H, 1, D)
    grouped = bool(H != K)  # sizes are tensors while torch.jit.trace looks on
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=grouped
    )
