"""Texts that repeat a large part of another one, word for word.

A text is taken as its runs of five words. What counts is the share of the shorter text's runs that
the longer one has too: a copy with a long foreword is found, which Jaccard's measure (shared runs
over all runs of both) would call different.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minigpt.data.document import Document
from minigpt.data.near_duplicates import FEWEST, overlap, runs_of

SHARE = 0.5


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
