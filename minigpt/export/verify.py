"""Is the exported model the same model? Its logits and the text it writes, beside ours.

Shapes: B batch, T new positions, V vocabulary, N prompts, S steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from minigpt.extras import require
from minigpt.model.cache import GrowingCache, ModelCache
from minigpt.model.gpt import GPT
from minigpt.quantization.error import relative_error
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
        relative=relative_error(whole, expected),
    )


@dataclass(frozen=True)
class Continuation:
    """What a decoder writes behind prompts, always the likeliest token, and how that is ours."""

    tokens: list[list[int]]
    """By prompt; written in one batch, padded on the left, from the cache."""
    equal: float
    """Share of them that the reference, reading the same text, would write there too."""
    behind: float
    """How far the reference's logit of such a token lies below its best, at most."""
    alone: float
    """Greatest difference of a logit to the same text alone, from the cache, up to ALONE steps."""
    whole: float
    """The same to the text alone, all at once, without a cache."""


ALONE = 16
"""Steps that prompts take one by one too; a program that runs Python or torch needs 8 ms each."""


@torch.no_grad()
def continuation(
    reference: Decoder, candidate: Decoder, prompts: Sequence[list[int]], steps: int, pad: int
) -> Continuation:
    """Let `candidate` write `steps` tokens behind each prompt; `pad` is the id that fills rows."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    batch = steps_of(candidate, ids, steps, mask=mask)  # (N, S, V)
    tokens = batch.argmax(-1)  # (N, S)
    few, texts, alone = min(steps, ALONE), [], []
    for prompt, row in zip(prompts, tokens, strict=True):
        alone.append(steps_of(candidate, torch.tensor([prompt]), few, written=row[None]))
        texts.append(torch.tensor([prompt + row[:-1].tolist()]))
    whole = torch.cat([candidate(text)[0][:, -steps:] for text in texts])  # (N, S, V)
    ours = torch.cat([reference(text)[0][:, -steps:] for text in texts])
    chosen = ours.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    return Continuation(
        tokens=tokens.tolist(),
        equal=float((ours.argmax(-1) == tokens).double().mean()),
        behind=float((ours.amax(-1) - chosen).max()),
        alone=float((batch[:, :few] - torch.cat(alone)).abs().max()),
        whole=float((batch - whole).abs().max()),
    )


def steps_of(
    decoder: Decoder,
    ids: Tensor,
    steps: int,
    mask: Tensor | None = None,
    written: Tensor | None = None,
) -> Tensor:
    """(N, S, V) logits behind (N, T) `ids`, token by token: those `written`, else the likeliest."""
    logits, past = decoder(ids, None, mask)
    behind = [logits[:, -1]]
    for step in range(steps - 1):
        likeliest = behind[-1].argmax(-1, keepdim=True)
        token = likeliest if written is None else written[:, step : step + 1]
        if mask is not None:
            mask = torch.cat((mask, torch.ones_like(token)), dim=1)
        logits, past = decoder(token, past, mask)
        behind.append(logits[:, -1])
    return torch.stack(behind, dim=1)


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
    """Whether the folder's tokenizer.json gives our ids for every text, opened as ours are."""
    theirs = tokenizer_in(folder)
    theirs.encode_special_tokens = True  # as ours: a special token's name in a text is text
    return all(
        theirs.encode(text).ids == [tokenizer.eot_id, *tokenizer.encode(text)] for text in texts
    )


def same_text(folder: Path, tokenizer: Tokenizer, written: Iterable[list[int]]) -> bool:
    """Whether the folder's tokenizer.json makes our text of all ids."""
    theirs = tokenizer_in(folder)
    return all(
        theirs.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids) for ids in written
    )


def tokenizer_in(folder: Path) -> Any:
    """A folder's tokenizer.json, as the library tokenizers reads it."""
    return require("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
