"""Is the exported model the same model? Its logits beside ours, prompt and cached steps.

Shapes: B batch, T new positions, V vocabulary.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from minigpt.extras import require
from minigpt.model.cache import GrowingCache, ModelCache
from minigpt.model.gpt import GPT
from minigpt.tokenizer.bpe import Tokenizer


class Decoder(Protocol):
    """A model with a cache, whoever runs it."""

    def __call__(
        self, ids: Tensor, past: Any = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Any]:
        """(B, T) ids and what the call before gave back -> (B, T, V) logits, past for the next.

        `mask`: (B, S) int64, S = past + T, 1 where a token is and 0 where padding is, left or right
        of a prompt; None: no padding. A text's calls all have one, or none.
        """


@dataclass(frozen=True)
class Parity:
    """How far a decoder's logits are from the reference's."""

    prompt: float
    """Greatest difference of a logit, all tokens at once."""
    cached: float
    """The same with the last tokens one by one, from the cache."""
    relative: float
    """|difference| / |reference| over all logits (2-norms), all tokens at once."""


@torch.no_grad()
def parity(reference: Decoder, candidate: Decoder, ids: Tensor, cached_steps: int) -> Parity:
    """Compare over (B, T) `ids`; the last `cached_steps` of them also go one by one."""
    expected, _ = reference(ids)
    whole, _ = candidate(ids)
    head = ids.size(1) - min(cached_steps, ids.size(1) - 1)
    logits, past = candidate(ids[:, :head])
    steps = [logits]
    for t in range(head, ids.size(1)):
        logits, past = candidate(ids[:, t : t + 1], past)
        steps.append(logits)
    return Parity(
        prompt=float((whole - expected).abs().max()),
        cached=float((torch.cat(steps, dim=1) - expected).abs().max()),
        relative=float((whole - expected).norm() / expected.norm()),
    )


def torch_decoder(model: GPT) -> Decoder:
    """Our own model."""

    def decode(ids: Tensor, past: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        cache: ModelCache
        if mask is None:
            cache = model.new_cache(ids.size(0)) if past is None else past
        else:
            layers = model.new_cache(ids.size(0), capacity=0) if past is None else past
            cache = GrowingCache([(layer.k, layer.v) for layer in layers.layers], mask)
        return model(ids, cache), cache

    return decode


def same_ids(folder: Path, tokenizer: Tokenizer, texts: Iterable[str]) -> bool:
    """Whether the folder's tokenizer.json gives our ids for every text."""
    tokenizers = require("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.encode_special_tokens = True  # as ours: a special token's name in a text is text
    return all(
        theirs.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)
        for text in texts
    )
