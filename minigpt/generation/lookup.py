"""Guesses of what comes next, by looking up where the text said the same before.

(Prompt lookup decoding, Saxena 2023.) A guess is only read ahead: each token is still chosen from
the model's logits with the number of its position, so guesses change the speed and not the odds.
"""

from collections.abc import Sequence

LONGEST, SHORTEST = 4, 2
"""Tokens of an ending that must have been there before."""


def guess(ids: Sequence[int], most: int) -> list[int]:
    """Up to `most` ids that followed the newest place where the ending of `ids` stood before."""
    for length in range(LONGEST, SHORTEST - 1, -1):
        if len(ids) <= length:
            continue
        ending = list(ids[-length:])
        for start in range(len(ids) - length - 1, -1, -1):
            if ids[start] == ending[0] and list(ids[start : start + length]) == ending:
                return list(ids[start + length : start + length + most])
    return []
