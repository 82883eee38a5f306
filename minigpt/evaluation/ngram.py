"""An interpolated byte n-gram with absolute discount: what counting alone reaches.

p_k(s | h) = max(c(hs) - D, 0) / c(h) + D · N(h) / c(h) · p_{k-1}(s | h'), p_0 = 1/256, where h is
the k - 1 bytes before s, h' drops its first one, c counts the training text and N(h) is the number
of different bytes seen after h (Ney, Essen, Kneser 1994). An unseen h leaves p_{k-1} as it is.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MAX_ORDER = 8  # bytes that fit one 64-bit key


class ByteNgram:
    """Counts of every n-gram up to `order` bytes, held as one sorted array of 8-byte windows.

    The windows are big-endian, so those that begin with the same k bytes stand together: a count
    is the length of a range. The text is taken to end in a NUL, so every context is continued.
    """

    def __init__(self, text: bytes, order: int, discount: float) -> None:
        """Count `text` (any length, 0 included); `order` is 1..8, `discount` is 0..1."""
        self.order = order
        self.discount = discount
        self._keys = np.sort(_windows(text))

    def bits(self, documents: Sequence[bytes]) -> NDArray[np.float64]:
        """(orders, bytes) Bits of every byte of the documents laid end to end, for order 1, 2, ….

        A document's first bytes have only its own bytes before them as context.
        """
        text = b"".join(documents)
        index = np.concatenate([np.arange(len(document)) for document in documents])
        keys = _windows(text)
        by_key = np.argsort(keys, kind="stable")  # sorted queries walk the counts in cache order
        rank = np.empty_like(by_key)
        rank[by_key] = np.arange(len(by_key))
        keys = keys[by_key]

        bits = np.empty((self.order, len(text)))
        p = np.full(len(text), 1 / 256)
        first = np.zeros(len(text), np.int64)  # the range of the empty context: every window
        last = np.full(len(text), len(self._keys))
        for k in range(1, self.order + 1):
            kinds = np.concatenate(([0], np.cumsum(_begins(self._keys, k))))
            context, followers = last - first, kinds[last] - kinds[first]
            mask = np.uint64((1 << (8 * (MAX_ORDER - k))) - 1)
            first = np.searchsorted(self._keys, keys & ~mask, "left")
            last = np.searchsorted(self._keys, keys | mask, "right")
            seen = np.maximum(last - first - self.discount, 0)

            ends = np.arange(k - 1, len(text))  # where the k-gram that starts at 0, 1, … ends
            starts = rank[: len(text) - k + 1]
            known = (context[starts] > 0) & (index[ends] >= k - 1)
            ends, starts = ends[known], starts[known]
            total = context[starts]
            p[ends] = (seen[starts] + self.discount * followers[starts] * p[ends]) / total
            bits[k - 1] = -np.log2(p)
        return bits


def _windows(text: bytes) -> NDArray[np.uint64]:
    """(bytes,) The 8 bytes that start at each position as one number, NULs after the end."""
    padded = np.frombuffer(text + bytes(MAX_ORDER - 1), np.uint8).astype(np.uint64)
    keys = np.zeros(len(text), np.uint64)
    for i in range(MAX_ORDER):
        keys = (keys << np.uint64(8)) | padded[i : i + len(text)]
    return keys


def _begins(keys: NDArray[np.uint64], k: int) -> NDArray[np.bool_]:
    """(keys,) Whether a sorted window is the first with its k bytes."""
    begins = np.ones(len(keys), np.bool_)
    prefix = keys >> np.uint64(8 * (MAX_ORDER - k))
    begins[1:] = prefix[1:] != prefix[:-1]
    return begins
