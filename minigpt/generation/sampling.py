"""Choosing a token: pure functions of logits, settings and a number between 0 and 1."""

import numpy as np
from numpy.typing import NDArray

from minigpt.generation.config import SamplingConfig

Floats = NDArray[np.float64]


def choose(logits: Floats, sampling: SamplingConfig, chance: float) -> int:
    """The token at `chance` (0 up to 1) of the way through the probabilities of (V,) logits."""
    if sampling.temperature == 0:
        return int(np.argmax(logits))
    cumulative = np.cumsum(probabilities(logits, sampling))
    total = cumulative[-1]
    token = np.searchsorted(cumulative, chance * total, side="right")
    last = np.searchsorted(cumulative, total)  # a chance next to 1 may round to all of it
    return int(min(token, last))


def probabilities(logits: Floats, sampling: SamplingConfig) -> Floats:
    """(V,) probabilities at a temperature above 0; among equal tokens the lower ids come first."""
    chances = softmax(logits / sampling.temperature)
    if sampling.top_k is None and sampling.top_p is None:
        return chances
    order = np.argsort(-chances, kind="stable")[: sampling.top_k]
    if sampling.top_p is not None:
        before = np.cumsum(chances[order]) - chances[order]  # what the likelier ones hold
        order = order[before < sampling.top_p * chances[order].sum()]
    candidates = np.zeros_like(chances)
    candidates[order] = chances[order]
    candidates /= candidates.sum()
    return candidates


def softmax(logits: Floats) -> Floats:
    """(V,) logits -> (V,) probabilities."""
    weights = np.exp(logits - logits.max())
    chances: Floats = weights / weights.sum()
    return chances
