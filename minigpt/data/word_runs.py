"""The runs of words that many texts have, as a sketch: enough to tell how much of a text they hold.

A sample of the runs by their own value (Irber et al., "Lightweight compositional analysis of
metagenomes with FracMinHash", 2022), so that the share of another text's runs is estimated without
the texts themselves.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from minigpt.data.near_duplicates import FEWEST, Runs, mixed, runs_of
from minigpt.errors import DataError
from minigpt.files import write_bytes

MOST = 1_000_000
"""Runs that a sketch keeps at most, in 8 bytes each."""


@dataclass(frozen=True)
class WordRuns:
    """Every `2 ** halvings`-th of the different runs of some texts."""

    runs: Runs
    """Sorted."""
    halvings: int

    def share_of(self, text: str) -> float | None:
        """The share of a text's runs that these texts have; None where it has too few to tell."""
        runs = sampled(runs_of(text), self.halvings)
        if len(runs) < FEWEST:
            return None
        return len(np.intersect1d(runs, self.runs, assume_unique=True)) / len(runs)


def sketch(texts: Iterable[str], most: int = MOST) -> WordRuns:
    """The runs of all texts together; the same whatever their order."""
    parts, size, halvings = list[Runs](), 0, 0
    for text in texts:
        parts.append(sampled(runs_of(text), halvings))
        size += len(parts[-1])
        if size > 2 * most:
            runs, halvings = _at_most(most, parts, halvings)
            parts, size = [runs], len(runs)
    return WordRuns(*_at_most(most, parts, halvings))


def _at_most(most: int, parts: list[Runs], halvings: int) -> tuple[Runs, int]:
    """The different runs of `parts`, halved until there are no more than `most`."""
    runs = np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]))
    while len(runs) > most:
        halvings += 1
        runs = runs[runs < _limit(halvings)]
    return runs, halvings


def sampled(runs: Runs, halvings: int) -> Runs:
    """Those of `runs` that are kept, as other numbers, of which low ones are random."""
    kept = np.sort(mixed(runs, 0))
    return kept[kept < _limit(halvings)] if halvings else kept


def _limit(halvings: int) -> np.uint64:
    """Numbers below are kept; of no halvings all are."""
    return np.uint64(2 ** (64 - halvings))


def write_word_runs(path: Path, word_runs: WordRuns) -> None:
    """Write a sketch as safetensors."""
    halvings = np.array([word_runs.halvings], np.int64)
    write_bytes(path, save({"runs": word_runs.runs, "halvings": halvings}))


def read_word_runs(data: bytes) -> WordRuns:
    """What `write_word_runs` wrote.

    Raises:
        DataError: that is something else.
    """
    try:
        tensors = load(data)
        return WordRuns(tensors["runs"].astype(np.uint64), int(tensors["halvings"][0]))
    except (SafetensorError, KeyError, IndexError, ValueError) as error:
        raise DataError(f"no sketch of word runs ({error!r})") from error
