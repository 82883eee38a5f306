"""One layer: attention, then MLP, each normalised before and added to the residual stream."""

from torch import Tensor, nn

from minigpt.model import fused
from minigpt.model.attention import Attention
from minigpt.model.cache import LayerCache
from minigpt.model.position import Tables


class Block(nn.Module):
    """Pre-norm transformer layer (arXiv:2002.04745)."""

    def __init__(
        self, norm1: nn.Module, attention: Attention, norm2: nn.Module, mlp: nn.Module
    ) -> None:
        super().__init__()
        self.norm1 = norm1
        self.attention = attention
        self.norm2 = norm2
        self.mlp = mlp

    def forward(
        self,
        x: Tensor,
        tables: Tables | None = None,
        cache: LayerCache | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """(B, T, C) -> (B, T, C); the other arguments are `Attention.forward`'s."""
        y = None
        if cache is None and mask is None:
            y = fused.add_attention(x, self.norm1, self.attention, tables)
        if y is None:
            y = x + self.attention(self.norm1(x), tables, cache, mask)
        z = fused.add_mlp(y, self.norm2, self.mlp)
        return y + self.mlp(self.norm2(y)) if z is None else z
