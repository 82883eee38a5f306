"""Texts that repeat a large part of another one, word for word.

A text is taken as its runs of five words. What counts is the share of the shorter text's runs that
the longer one has too: a copy with a long foreword is found, which Jaccard's measure (shared runs
over all runs of both) would call different.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt.data.document import Document

RUN = 5  # words
FEWEST = 8  # runs; of shorter texts only equal ones are found
SHARE = 0.5
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces: a character is a word
WORD = re.compile(f"[{CJK}]|[^\\W{CJK}]+")
Runs = NDArray[np.uint64]


@dataclass(frozen=True)
class NearDuplicate:
    """A document that repeats a large part of one that is asked for."""

    document: Document
    share: float
    """How many of the shorter text's runs both have, as a share."""


def near_duplicates(texts: Sequence[str], others: Iterable[Document]) -> list[NearDuplicate]:
    """Which of `others` repeat half of one of `texts` or more, or are half in it; nearest first."""
    wanted = [runs for text in texts if len(runs := runs_of(text)) >= FEWEST]
    duplicates = []
    for document in others if wanted else ():
        runs = runs_of(document.text)
        if len(runs) >= FEWEST:
            share = max(overlap(runs, other) for other in wanted)
            if share >= SHARE:
                duplicates.append(NearDuplicate(document, share))
    return sorted(duplicates, key=lambda near: (-near.share, near.document.doc_id))


def overlap(one: Runs, other: Runs) -> float:
    """The share of the shorter one's runs that both have."""
    shared = np.intersect1d(one, other, assume_unique=True)
    return len(shared) / min(len(one), len(other))


def runs_of(text: str) -> Runs:
    """The different runs of words in a text, as numbers, sorted."""
    words = np.array([_number(word) for word in WORD.findall(text.casefold())], np.uint64)
    if len(words) < RUN:
        return np.empty(0, np.uint64)
    hashes: Any = np.zeros(len(words) - RUN + 1, np.uint64)
    for place in range(RUN):  # numbers of 64 bits wrap around, as they should
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + words[place : place + len(hashes)]
    return np.unique(hashes)


@cache
def _number(word: str) -> int:
    return zlib.crc32(word.encode(errors="replace"))
