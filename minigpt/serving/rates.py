"""How often somebody may ask."""

import math
import time
from collections.abc import Callable

MOST_NAMES = 10_000
"""Addresses that are remembered: who asked longest ago is forgotten."""


class Rates:
    """A bucket for each name: it holds as many requests as a minute has, and fills evenly."""

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`per_minute`: requests of one name; None: as many as come."""
        self._per_minute, self._clock = per_minute, clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, name: str) -> int | None:
        """None: `name` may ask, and has; else the seconds until it may."""
        if self._per_minute is None:
            return None
        now, full = self._clock(), float(self._per_minute)
        left, then = self._left.pop(name, (full, now))
        left = min(full, left + (now - then) * full / 60)
        allowed = left >= 1
        self._left[name] = (left - 1 if allowed else left, now)
        if len(self._left) > MOST_NAMES:
            del self._left[next(iter(self._left))]
        return None if allowed else max(1, math.ceil((1 - left) * 60 / full))
