"""Texts that are another text again, but for blanks, case, marks and a few words.

Two measures over shingles, the runs of five words that a text has (Broder, "On the resemblance and
containment of documents", 1997). Resemblance, shared runs over all runs of both, finds copies. The
share of the shorter one's runs that both have, containment, also finds an excerpt in a whole.

Resemblance to all others is estimated by MinHash, so that only likely pairs are compared: texts
whose rows of a band agree (Leskovec et al., Mining of Massive Datasets, section 3.4).
"""

import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUN = 5  # words
FEWEST = 8  # runs; of shorter texts only equal ones are found
RESEMBLANCE = 0.8
"""Of runs, from which on two texts count as one."""
BANDS, ROWS = 10, 3
"""A pair at RESEMBLANCE is compared with a chance of 99.9 %; one at 0.3 in a quarter of cases."""
BUCKET = 64
"""Earlier texts of a bucket that are looked at; forms filled in by thousands share theirs."""
COMPARED = 16
"""Earlier texts that a text is compared with: those that share the most bands with it."""
BATCH = 1_000_000
"""Characters whose runs are made at once."""
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"  # written without spaces: a character is a word
UNSEEN = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Characters without a width of their own, and control characters that are no blanks."""
WORD = re.compile(f"[{CJK}]|[^\\W_{CJK}]+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits like random ones
Runs = NDArray[np.uint64]


@dataclass(frozen=True)
class Copy:
    """A text that another one, which comes before it, says again."""

    of: int
    """Place of that one."""
    share: float
    """Resemblance; 1 where nothing but blanks, case and marks differs."""


def copies(texts: Sequence[str]) -> dict[int, Copy]:
    """Place of each text that repeats an earlier text, which is not a copy itself.

    An empty text is never a copy.
    """
    repeats: dict[int, Copy] = {}
    first: dict[bytes, int] = {}
    for place, text in enumerate(texts):
        key = plain(text)
        if not key:
            continue
        earlier = first.setdefault(sha256(key.encode(errors="replace")).digest(), place)
        if earlier != place:
            repeats[place] = Copy(earlier, 1.0)
    return repeats | _near(texts, sorted(first.values()))


def _near(texts: Sequence[str], places: Sequence[int]) -> dict[int, Copy]:
    """Copies among texts that are all different when plain."""
    repeats: dict[int, Copy] = {}
    buckets: dict[tuple[int, int], list[int]] = {}
    runs = cache(lambda place: runs_of(texts[place]))
    for place, bands in _shared_bands(texts, places):
        counts = Counter(earlier for band in bands for earlier in buckets.get(band, ())[:BUCKET])
        likeliest = sorted(counts, key=lambda earlier: (-counts[earlier], earlier))[:COMPARED]
        nearest = max(
            (Copy(earlier, resemblance(runs(earlier), runs(place))) for earlier in likeliest),
            key=lambda copy: (copy.share, -copy.of),
            default=None,
        )
        if nearest and nearest.share >= RESEMBLANCE:
            repeats[place] = nearest
            continue
        for band in bands:
            buckets.setdefault(band, []).append(place)
    return repeats


def _shared_bands(
    texts: Sequence[str], places: Sequence[int]
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Each place with those of its bands, (number, value), that another text has too."""
    chosen, parts = [], []
    for batch in _batches(texts, places):
        counts, runs = _runs_end_to_end([texts[place] for place in batch])
        enough = counts >= FEWEST
        chosen += [place for place, is_enough in zip(batch, enough, strict=True) if is_enough]
        if enough.any():
            # A text without runs has nothing to begin at: reduceat would take the next one's.
            least = _least(runs[np.repeat(enough, counts)], counts[enough])
            parts.append(least)
    if not parts:
        return
    values = np.concatenate(parts)  # (texts, BANDS)
    shared = np.empty(values.shape, bool)
    for band in range(BANDS):
        _, inverse, times = np.unique(values[:, band], return_inverse=True, return_counts=True)
        shared[:, band] = times[inverse] > 1
    for row in np.flatnonzero(shared.any(axis=1)):
        yield (
            chosen[row],
            [(int(band), int(values[row, band])) for band in np.flatnonzero(shared[row])],
        )


def _batches(texts: Sequence[str], places: Sequence[int]) -> Iterator[list[int]]:
    """Places of texts that together have about BATCH characters."""
    batch, size = [], 0
    for place in places:
        batch.append(place)
        size += len(texts[place])
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _runs_end_to_end(texts: Sequence[str]) -> tuple[NDArray[np.int64], Runs]:
    """(texts,) how many runs each has, and (sum,) those runs, in the order of the words."""
    words = [_words(text) for text in texts]
    counts = np.array([max(0, len(text_words) - RUN + 1) for text_words in words], np.int64)
    return counts, np.concatenate([_hashes(text_words) for text_words in words])


def _least(runs: Runs, counts: NDArray[np.int64]) -> Any:
    """(texts, BANDS) of the least runs under ROWS orders each, as one number."""
    starts = np.cumsum(counts) - counts
    values = np.zeros((len(counts), BANDS), np.uint64)
    for order in range(BANDS * ROWS):
        least = np.minimum.reduceat(mixed(runs, order), starts)
        band = values[:, order // ROWS]
        band *= MULTIPLIER
        band += least
    return values


def mixed(numbers: Any, order: int) -> Any:
    """The numbers in another order: a one-to-one map of 64-bit numbers."""
    numbers = numbers * np.uint64(int(MULTIPLIER) * (2 * order + 1) % 2**64)
    return (numbers ^ (numbers >> np.uint64(29))) * MULTIPLIER


def resemblance(one: Runs, other: Runs) -> float:
    """Shared runs over all runs of both."""
    few, many = sorted((len(one), len(other)))
    if few < RESEMBLANCE * many:
        return 0.0  # it cannot reach what counts
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (few + many - shared)


def overlap(one: Runs, other: Runs) -> float:
    """The share of the shorter one's runs that both have."""
    shared = np.intersect1d(one, other, assume_unique=True)
    return len(shared) / min(len(one), len(other))


def runs_of(text: str) -> Runs:
    """The different runs of words in a text, as numbers, sorted."""
    return np.unique(_hashes(_words(text)))


def _words(text: str) -> Runs:
    return np.array([_number(word) for word in WORD.findall(_folded(text))], np.uint64)


def _folded(text: str) -> str:
    """A text as a reader sees it: letters of any width and case, without what has no width."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return UNSEEN.sub("", text).casefold()


def _hashes(words: Runs) -> Any:
    """One number for each run of RUN words; numbers of 64 bits wrap around, as they should."""
    hashes: Any = np.zeros(max(0, len(words) - RUN + 1), np.uint64)
    for place in range(RUN):
        hashes = hashes * MULTIPLIER + words[place : place + len(hashes)]
    return hashes


@cache
def _number(word: str) -> int:
    return zlib.crc32(word.encode(errors="replace"))


def plain(text: str) -> str:
    """A text without blanks, case and punctuation; one of nothing else stays as it is."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded.translate(_KEEP) or text.strip()


class _Keep(dict[int, int | None]):
    """For str.translate: None for blanks, marks and control characters."""

    def __missing__(self, code: int) -> int | None:
        category = unicodedata.category(chr(code))
        self[code] = None if category[0] in "PZC" else code
        return self[code]


_KEEP = _Keep()
