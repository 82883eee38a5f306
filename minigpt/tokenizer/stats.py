"""What a tokenizer does to a text: how often each token occurs, and what follows from that."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minigpt.tokenizer.bpe import Tokenizer

Counts = np.ndarray[Any, np.dtype[np.int64]]


def count_tokens(encoded: Iterable[np.ndarray[Any, Any]], vocab_size: int) -> Counts:
    """(vocab_size,) how often each id occurs."""
    counts = np.zeros(vocab_size, dtype=np.int64)
    for ids in encoded:
        counts += np.bincount(ids, minlength=vocab_size)
    return counts


def usage(counts: Counts, tokenizer: Tokenizer) -> Mapping[str, float]:
    """Shares of the vocabulary (special tokens apart) and of the tokens written.

    unused_share: tokens that never occur. fragment_share: occurrences of tokens that hold only a
    part of a character. renyi_efficiency: evenness of use, at order 2.5 the best predictor of a
    tokenizer's worth in translation (Zouhar et al., arXiv:2306.16842); 1 is uniform.
    """
    used = counts[: len(tokenizer.ranks)]
    share = used / max(1, used.sum())
    fragments = [rank for token, rank in tokenizer.ranks.items() if not is_text(token)]
    order = 2.5
    entropy = np.log(np.sum(share**order) or 1.0) / (1 - order)
    return {
        "unused_share": float(np.mean(used == 0)),
        "fragment_share": float(share[fragments].sum()),
        "renyi_efficiency": float(entropy / np.log(len(used))),
    }


def is_text(token: bytes) -> bool:
    """Whether `token` is whole UTF-8 characters."""
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True
