"""The half of a block that looks at one position at a time.

Shapes: B batch, T positions, C width.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Swiglu(nn.Module):
    """down(silu(gate(x)) * up(x)) (arXiv:2002.05202)."""

    def __init__(self, n_embd: int, mlp_dim: int, bias: bool) -> None:
        super().__init__()
        self.gate = nn.Linear(n_embd, mlp_dim, bias)
        self.up = nn.Linear(n_embd, mlp_dim, bias)
        self.down = nn.Linear(mlp_dim, n_embd, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class Gelu(nn.Module):
    """down(gelu(up(x))) with GPT-2's tanh form."""

    def __init__(self, n_embd: int, mlp_dim: int, bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(n_embd, mlp_dim, bias)
        self.down = nn.Linear(mlp_dim, n_embd, bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        y: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return y
