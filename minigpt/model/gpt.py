"""The whole model. Shapes: B batch, T new positions, C width, V vocabulary."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt.model import fused, ops
from minigpt.model.block import Block
from minigpt.model.cache import Cache, ModelCache
from minigpt.model.config import ModelConfig
from minigpt.model.position import Position

IGNORED = -100
"""A target that counts for nothing (torch's own convention)."""


class NormalizedEmbedding(nn.Embedding):
    """An embedding table whose rows are divided by their root mean square when they are read."""

    EPS = 1e-6

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, C)."""
        if self.weight.dtype == torch.bfloat16 and self.weight.device.type == "cpu":
            return ops.embedding(ids, self.weight, self.EPS)
        return F.rms_norm(super().forward(ids), (self.embedding_dim,), eps=self.EPS)

    def table(self) -> Tensor:
        """(V, C) rows as they are read. Normalising them once more changes nothing."""
        return F.rms_norm(self.weight, (self.embedding_dim,), eps=self.EPS)


class GPT(nn.Module):
    """Decoder-only transformer; `build.build_model` makes one from a config."""

    def __init__(
        self,
        config: ModelConfig,
        embed: nn.Embedding,
        position: Position,
        blocks: Iterable[Block],
        norm: nn.Module,
        head: nn.Linear,
    ) -> None:
        super().__init__()
        self.config = config
        self.embed = embed
        self.position = position
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = head

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return self.embed.num_embeddings

    def forward(self, ids: Tensor, cache: ModelCache | None = None) -> Tensor:
        """(B, T) token ids -> (B, T, V) logits. With a cache, ids are only the new positions."""
        return self.logits(self.hidden(ids, cache))

    def hidden(self, ids: Tensor, cache: ModelCache | None = None) -> Tensor:
        """(B, T) token ids -> (B, T, C), before the last norm and the head.

        Raises:
            ValueError: more positions than the model's context_length.
        """
        T = ids.size(1)
        start = 0 if cache is None else cache.length
        if start + T > self.config.context_length:
            raise ValueError(
                f"{start + T} positions, but context_length is {self.config.context_length}"
            )
        x: Tensor = self.embed(ids)
        if cache is None:
            rows = columns = torch.arange(T, device=x.device)
            mask = None
        else:
            rows, columns = cache.positions(T)
            mask = cache.mask(T)
        x = self.position.embed(x, rows)  # (B, T, C)
        tables = self.position.tables(rows)
        mask = self.position.mask(rows, columns, mask, x.dtype)
        layers = [None] * len(self.blocks) if cache is None else cache.layers
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, tables, layer, mask)
        if cache is not None:
            cache.advance(T)
        return x

    def logits(self, x: Tensor) -> Tensor:
        """(…, C) hidden states -> (…, V) logits."""
        logits: Tensor = self.head(self.norm(x))
        return logits

    def loss_sum(self, ids: Tensor, targets: Tensor) -> Tensor:
        """(B, T), (B, T) -> summed negative log likelihood in nats of targets that are not -100."""
        x = self.hidden(ids)
        if (loss := fused.loss_sum(x, self.norm, self.head, targets)) is not None:
            return loss
        logits = self.logits(x).flatten(0, 1).float()
        return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction="sum")

    def fold(self) -> "GPT":
        """Make a normalised embedding plain, in place: the same function in one step less.

        For programs that have no word for `ModelConfig.embedding_norm`; not for training.
        """
        if isinstance(self.embed, NormalizedEmbedding):
            rows, width = self.embed.weight.shape
            self.embed = nn.Embedding(rows, width, _weight=self.embed.table().detach())
            self.config = self.config.replace(embedding_norm=False)
        return self

    def new_cache(self, batch: int = 1, capacity: int | None = None) -> Cache:
        """An empty cache for `batch` sequences of up to `capacity` (context_length) positions."""
        return Cache(
            self.config.n_layer,
            batch,
            self.config.n_kv_head,
            self.config.context_length if capacity is None else capacity,
            self.config.head_width,
            like=next(self.parameters()),
        )
