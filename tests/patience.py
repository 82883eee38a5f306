"""How long a test waits for what must come: only as a guard against what never ends.

A limit is stated for a quiet machine of the kind named below and scaled by one factor, which is
measured once a process under the load of that moment.
"""

import functools
import time
from collections.abc import Callable
from typing import Any

QUIET_SECONDS = 0.05
"""What `_work` takes on a quiet 2-core server of 2024."""
MARGIN = 5.0
"""Load comes and goes while tests run."""


def patience(seconds: float) -> float:
    """`seconds` of a quiet machine, on this one."""
    return seconds * _factor()


def until(condition: Callable[[], Any], seconds: float = 60.0) -> Any:
    """The first true value of `condition()`; an AssertionError where it never comes."""
    end = time.monotonic() + patience(seconds)
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value


@functools.cache
def _factor() -> float:
    began = time.perf_counter()
    _work()
    return MARGIN * max(1.0, (time.perf_counter() - began) / QUIET_SECONDS)


def _work() -> int:
    return sum(i * i % 7 for i in range(600_000))
