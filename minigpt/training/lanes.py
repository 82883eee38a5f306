"""Threads that each work with cores of their own.

An operation of a small model is too short to be worth sharing between cores: two threads with half
of the sequences each train a 2.4M model up to twice as fast as one thread with two cores. The
operations let go of the interpreter's lock, so that Python between them hardly matters.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

from minigpt.machine import Machine

R = TypeVar("R")


class Lanes:
    """`count` threads that share `threads` cores evenly. A context manager."""

    def __init__(self, count: int, threads: int) -> None:
        self.count = count
        self._threads_before = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(
            count, "lane", torch.set_num_threads, (max(1, threads // count),)
        )

    def run(self, tasks: Sequence[Callable[[], R]]) -> list[R]:
        """Run tasks side by side; their results in order. Whether gradients are on is inherited."""
        grad = torch.is_grad_enabled()

        def work(task: Callable[[], R]) -> R:
            with torch.set_grad_enabled(grad):
                return task()

        return list(self._pool.map(work, tasks))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown()
        torch.set_num_threads(self._threads_before)


def lane_count(machine: Machine, sequences: Collection[int]) -> int:
    """The most lanes, up to the machine's threads, that divide each number of sequences.

    A GPU has one, and so has compiled code: torch.compile serves one thread at a time.
    """
    if machine.compile or machine.torch_device != "cpu":
        return 1
    choices = range(1, machine.threads + 1)
    return max(n for n in choices if all(count % n == 0 for count in sequences))
