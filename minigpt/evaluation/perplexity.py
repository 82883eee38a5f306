"""Bits that a model needs for text: every token of every document, each counted once.

A work is one stream of tokens, <|endoftext|> before each of its documents. Windows of `length`
tokens move over the stream by `stride`; the first one scores all its tokens, each later one only
those that no window before it scored. So every token is predicted once, with at least
`length - stride` tokens of its own work before it where there are that many, and <|endoftext|> is
context and never scored.

Shapes: B windows, T positions, V vocabulary.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from minigpt.data.document import Document
from minigpt.errors import DataError, ParamsError
from minigpt.evaluation.config import WindowConfig
from minigpt.model.config import ModelConfig
from minigpt.model.gpt import GPT
from minigpt.package import Package
from minigpt.tokenizer.bpe import Tokenizer

Score = Callable[[Tensor, int], Tensor]
"""(B, T) int64 ids, first -> (B, T - first, V) logits of the positions from `first` on: a torch
model, an onnxruntime session, …"""
Progress = Callable[[str], None]


@dataclass(frozen=True)
class DocumentBits:
    """One document's tokens as the model saw them."""

    document: Document
    bits: NDArray[np.float64]
    """(tokens,) -log2 p of each token."""
    token_bytes: NDArray[np.int64]
    """(tokens,) bytes of text each token stands for; they sum to the document's bytes."""


@dataclass(frozen=True)
class Figures:
    """Sums over some text."""

    bits: float
    bytes: int
    tokens: int

    @property
    def bits_per_byte(self) -> float:
        """Loss that does not depend on the tokenizer."""
        return self.bits / self.bytes

    @property
    def perplexity_per_token(self) -> float:
        """The exponential of the mean loss of a token; comparable under one tokenizer only."""
        return float(2 ** (self.bits / self.tokens))


def measure_package(
    package: Package, documents: Sequence[Document], window: WindowConfig
) -> Figures:
    """What `package`, in float32, needs for `documents`."""
    return measure(model_score(package.model), package.tokenizer, documents, window)


def measure(
    score: Score, tokenizer: Tokenizer, documents: Sequence[Document], window: WindowConfig
) -> Figures:
    """As `measure_package`, for anything that gives logits."""
    document_bits = bits_of_documents(score, tokenizer, documents, window)
    return Figures(
        bits=float(sum(document.bits.sum() for document in document_bits)),
        bytes=sum(int(document.token_bytes.sum()) for document in document_bits),
        tokens=sum(len(document.bits) for document in document_bits),
    )


def window_over(
    model: ModelConfig, length: int | None = None, stride: int | None = None, batch: int = 4
) -> WindowConfig:
    """Windows as long as the model's context, moved on by half of that, unless told otherwise.

    Raises:
        ParamsError: the window is longer than the context, or the stride than the window.
    """
    length = length or model.context_length
    if length > model.context_length:
        raise ParamsError(
            f"params.yaml: a window of {length} tokens, but the model sees at most its "
            f"context_length, {model.context_length}"
        )
    if stride and stride > length:
        raise ParamsError(f"params.yaml: a stride of {stride} skips tokens; at most {length}")
    return WindowConfig(length=length, stride=stride or max(1, length // 2), batch=batch)


def model_score(model: GPT) -> Score:
    """A torch model as a `Score`: float32, no dropout, on the device where it lies."""
    model = model.float().eval()
    device = next(itertools.chain(model.parameters(), model.buffers())).device

    def score(ids: Tensor, first: int) -> Tensor:
        return model.logits(model.hidden(ids.to(device))[:, first:])

    return score


def bits_of_documents(
    score: Score,
    tokenizer: Tokenizer,
    documents: Sequence[Document],
    window: WindowConfig,
    progress: Progress = lambda _: None,
) -> list[DocumentBits]:
    """The bits of every token of every document, in the order given.

    Documents of one work that follow each other are context for each other.

    Raises:
        DataError: there is no text.
    """
    if not any(document.text for document in documents):
        raise DataError("there is no text to judge a model on. Run: dvc repro validate")
    works = [list(group) for _, group in itertools.groupby(documents, _work)]
    encoded = [[tokenizer.encode_array(document.text) for document in work] for work in works]
    eot = np.array([tokenizer.eot_id], np.int64)
    streams = [np.concatenate([part for ids in work for part in (eot, ids)]) for work in encoded]
    scored = token_bits(score, streams, window, fill=tokenizer.eot_id, progress=progress)

    lengths, document_bits = tokenizer.byte_lengths, []
    for work, ids_of_work, bits in zip(works, encoded, scored, strict=True):
        start = 1
        for document, ids in zip(work, ids_of_work, strict=True):
            here = bits[start - 1 : start - 1 + len(ids)]
            document_bits.append(DocumentBits(document, here, lengths[ids]))
            start += len(ids) + 1
    return document_bits


def token_bits(
    score: Score,
    streams: Sequence[NDArray[np.int64]],
    window: WindowConfig,
    fill: int,
    progress: Progress = lambda _: None,
) -> list[NDArray[np.float64]]:
    """For each stream of n ids, (n - 1,) bits of every id but the first.

    Windows of all streams share batches; what is behind a stream's end is `fill`, which a causal
    model does not look at.
    """
    result = [np.empty(len(stream) - 1) for stream in streams]
    places = [(i, place) for i, stream in enumerate(streams) for place in _places(stream, window)]
    places.sort(
        key=lambda item: item[1].end - item[1].start, reverse=True
    )  # alike lengths together
    with torch.inference_mode():
        for done in range(0, len(places), window.batch):
            batch = places[done : done + window.batch]
            ids, targets = _batch(streams, batch, fill)
            first = min(place.scored - place.start for _, place in batch)
            logits = score(ids, first).float()  # (B, T - first, V)
            nll = F.cross_entropy(
                logits.flatten(0, 1),
                targets[:, first:].flatten().to(logits.device),
                reduction="none",
            )
            bits = nll.view(len(batch), -1).cpu().numpy().astype(np.float64) / np.log(2)
            for row, (i, place) in zip(bits, batch, strict=True):
                offset = place.start + first
                result[i][place.scored : place.end] = row[
                    place.scored - offset : place.end - offset
                ]
            progress(f"{done + len(batch)}/{len(places)} windows")
    return result


@dataclass(frozen=True)
class Place:
    """One window over a stream: it reads [start, end) and scores the ids after [scored, end)."""

    start: int
    scored: int
    end: int


def _places(stream: NDArray[np.int64], window: WindowConfig) -> Iterator[Place]:
    last = len(stream) - 1  # its id is predicted, never read
    scored = 0
    for start in itertools.count(0, window.stride):
        if scored >= last:
            return
        end = min(start + window.length, last)
        yield Place(start, scored, end)
        scored = end


def _batch(
    streams: Sequence[NDArray[np.int64]], batch: Sequence[tuple[int, Place]], fill: int
) -> tuple[Tensor, Tensor]:
    """(B, T), (B, T) ids and the ids that follow them."""
    length = max(place.end - place.start for _, place in batch)
    rows = np.full((len(batch), length + 1), fill, np.int64)
    for row, (i, place) in zip(rows, batch, strict=True):
        row[: place.end - place.start + 1] = streams[i][place.start : place.end + 1]
    both = torch.from_numpy(rows)
    return both[:, :-1], both[:, 1:]


def _work(document: Document) -> tuple[Any, ...]:
    return document.source, document.work
