"""Choosing a token: pure functions of logits, settings and a number from 0 up to 1.

Shapes: V vocabulary, N candidates.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt.generation.config import SamplingConfig
from minigpt.generation.request import Sampling

FEW = 64
"""Likeliest tokens that are looked at first where top_p alone decides."""
BLOCK = 8
"""Tokens of which only the likeliest is looked at in the search for the likeliest of all."""
Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


def chance_at(seed: int, choice: int, position: int) -> float:
    """The number from 0 up to 1 that decides token `position` of a text.

    It depends on nothing else: not on other requests, not on how the text was computed.
    """
    key = struct.pack("<QQQ", seed % 2**64, choice, position)
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little") / 2**64


@dataclass
class Seen:
    """How often each token stands in a text, where penalties ask for it."""

    prompt: Ids
    """Different ids of the prompt."""
    counts: dict[int, int] = field(default_factory=dict)
    """Written id → how often."""

    def add(self, token: int) -> None:
        """Count a token that was written."""
        self.counts[token] = self.counts.get(token, 0) + 1


def adjusted(logits: NDArray[Any], sampling: Sampling, seen: Seen | None) -> Floats:
    """(V,) logits with bias and penalties, in a new array."""
    values = logits.astype(np.float64)
    for token, bias in sampling.logit_bias.items():
        values[token] = -np.inf if bias == -100 else values[token] + bias
    if seen is None:
        return values
    written = np.fromiter(seen.counts, np.int64, len(seen.counts))
    if sampling.repetition_penalty != 1:
        there = np.union1d(seen.prompt, written)
        before = values[there]
        penalty = sampling.repetition_penalty
        values[there] = np.where(before < 0, before * penalty, before / penalty)
    counts = np.fromiter(seen.counts.values(), np.float64, len(seen.counts))
    values[written] -= sampling.frequency_penalty * counts + sampling.presence_penalty
    return values


def choose(logits: NDArray[Any], sampling: SamplingConfig, chance: float) -> int:
    """The token at `chance` (0 up to 1) of the way through the probabilities of (V,) logits."""
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    ids, chances = candidates(logits, sampling)
    cumulative = np.cumsum(chances)
    total = cumulative[-1]
    at = np.searchsorted(cumulative, chance * total, side="right")
    last = np.searchsorted(cumulative, total)  # a chance next to 1 may round to all of it
    return int(ids[min(at, last)])


def probabilities(logits: NDArray[Any], sampling: SamplingConfig) -> Floats:
    """(V,) probabilities with which `choose` takes each token."""
    result = np.zeros(len(logits))
    if sampling.temperature == 0:
        result[int(np.argmax(logits))] = 1
        return result
    ids, chances = candidates(logits, sampling)
    result[ids] = chances
    return result


def candidates(logits: NDArray[Any], sampling: SamplingConfig) -> tuple[Ids, Floats]:
    """(N,) ids in rising order and their probabilities, at a temperature above 0.

    Among equal tokens the lower ids come first.
    """
    if sampling.top_k is not None:
        ids = greatest(logits, sampling.top_k)
        weights = _weights(logits[ids], sampling)
    else:
        ids, weights = np.arange(len(logits)), _weights(logits, sampling)
    if sampling.top_p is not None:
        wanted = sampling.top_p * weights.sum()
        if sampling.top_k is None:
            ids = _enough(weights, wanted)
            weights = weights[ids]
        before = np.cumsum(weights) - weights  # what the likelier ones hold
        held = before < wanted
        ids, weights = ids[held], weights[held]
    if isinstance(sampling, Sampling):
        ids, weights = _further(ids, weights, sampling)
    if len(ids) < len(logits):
        order = np.argsort(ids)
        ids, weights = ids[order], weights[order]
    return ids, weights / weights.sum()


def _weights(logits: NDArray[Any], sampling: SamplingConfig) -> Floats:
    """(N,) logits -> what probabilities are proportional to, the greatest 1."""
    values = logits.astype(np.float64)
    values -= values.max()
    values /= sampling.temperature
    return np.exp(values, out=values)


def _enough(weights: Floats, wanted: float) -> Ids:
    """The likeliest ids, at least as many as hold `wanted`; most texts need a few of many."""
    count = FEW
    while True:
        ids = greatest(weights, count)
        if len(ids) == len(weights) or weights[ids].sum() >= wanted:
            return ids
        count *= 8


def greatest(values: NDArray[Any], count: int) -> Ids:
    """Ids of the `count` greatest, greatest first; among equal ones the lower ids come first."""
    ids = np.arange(len(values))
    width = len(values) // BLOCK
    if 0 < count <= width:
        # As many blocks have something as great as the least of their best: so nothing is missed.
        best = values[: BLOCK * width].reshape(BLOCK, width).max(axis=0)
        ids = np.flatnonzero(values >= np.partition(best, width - count)[width - count])
    return ids[np.argsort(-values[ids], kind="stable")][:count]


def _further(ids: Ids, weights: Floats, sampling: Sampling) -> tuple[Ids, Floats]:
    """What typical_p and then min_p leave."""
    if sampling.typical_p is not None:
        chances = weights / weights.sum()
        surprise = -np.log(np.maximum(chances, 1e-300))
        order = np.argsort(np.abs(surprise - (chances * surprise).sum()), kind="stable")
        before = np.cumsum(chances[order]) - chances[order]
        order = order[before < sampling.typical_p]
        ids, weights = ids[order], weights[order]
    if sampling.min_p > 0:
        held = weights >= sampling.min_p * weights.max()
        ids, weights = ids[held], weights[held]
    return ids, weights


def log_softmax(logits: NDArray[Any]) -> Floats:
    """(V,) logits -> (V,) natural logarithms of probabilities."""
    values = logits.astype(np.float64)
    values -= values.max()
    values -= np.log(np.exp(values).sum())
    return values


def alternatives(logprobs: Floats, count: int) -> Mapping[int, float]:
    """The `count` likeliest ids → log-probability, likeliest first."""
    return {int(i): float(logprobs[i]) for i in greatest(logprobs, count)} if count else {}
