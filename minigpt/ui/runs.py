"""What is being written, for whom: one at a time in each tab of each visitor.

Only the handler that writes changes what is shown. "Stop" ends the streams that it reads, and it
shows the end itself; a new start waits until the one before has shown its own. So no message of an
old text can come behind one of a new text.
"""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import Any, TypeVar

from minigpt.errors import MiniGPTError
from minigpt.ui.client import Delta

FRAME_SECONDS = 0.05
"""What comes within it is shown at once: a page draws 20 times a second."""

MOST_EARLY_STOPS = 1000
"""Kept of "Stop" where nothing is on its way: most never had a start."""
T = TypeVar("T")


class Run:
    """One text, or several side by side, on their way."""

    def __init__(self, number: int = 0) -> None:
        self.number = number
        """Which start of the visitor's page it is."""
        self.stopped = False
        """Whether it was told to stop."""
        self.ended = asyncio.Event()
        self._pumps: list[asyncio.Task[None]] = []
        self._began = perf_counter()
        self._last: dict[int, float] = {}

    def seconds(self, place: int = 0) -> float:
        """From the start to what came last of one stream."""
        return self._last.get(place, perf_counter()) - self._began

    def stop(self) -> None:
        """End it soon; whoever follows it gets what has come, then the end."""
        self.stopped = True
        for pump in self._pumps:
            pump.cancel()

    async def follow(self, *streams: AsyncIterator[Delta]) -> AsyncIterator[list[Delta | None]]:
        """What has come of each stream since the last time; None: nothing.

        A stream that fails gives a Delta with its error.
        """
        queue: asyncio.Queue[tuple[int, Delta | None]] = asyncio.Queue()

        async def pump(place: int, stream: AsyncIterator[Delta]) -> None:
            try:
                async for delta in stream:
                    self._last[place] = perf_counter()
                    queue.put_nowait((place, delta))
            except MiniGPTError as error:
                queue.put_nowait((place, Delta(error=str(error))))

        if self.stopped:
            return
        for place, stream in enumerate(streams):
            task = asyncio.ensure_future(pump(place, stream))
            # Not at the end of `pump`: what is stopped before its first step never gets there.
            task.add_done_callback(functools.partial(_tell, queue, (place, None)))
            self._pumps.append(task)
        try:
            left = len(streams)
            while left:
                news = [await queue.get()]
                await asyncio.sleep(FRAME_SECONDS)
                while not queue.empty():
                    news.append(queue.get_nowait())
                left -= sum(delta is None for _, delta in news)
                yield [
                    joined([delta for place, delta in news if place == wanted and delta])
                    for wanted in range(len(streams))
                ]
            for task in self._pumps:
                if not task.cancelled():
                    task.result()  # a bug shows itself
        finally:
            for task in self._pumps:
                task.cancel()
            await asyncio.gather(*self._pumps, return_exceptions=True)


def _tell(queue: asyncio.Queue[Any], news: Any, _: object) -> None:
    queue.put_nowait(news)


def joined(deltas: list[Delta]) -> Delta | None:
    """Several as one."""
    if not deltas:
        return None
    return Delta(
        text="".join(delta.text for delta in deltas),
        tokens=tuple(token for delta in deltas for token in delta.tokens),
        finish=last(delta.finish for delta in deltas),
        written=last(delta.written for delta in deltas),
        model=last(delta.model for delta in deltas),
        error=last(delta.error for delta in deltas),
    )


def last(values: Iterable[T | None]) -> T | None:
    """The last that is there."""
    found = [value for value in values if value is not None]
    return found[-1] if found else None


class Runs:
    """All runs of a page."""

    def __init__(self) -> None:
        self._runs: dict[tuple[str, str], Run] = {}
        self._stopped_early: dict[tuple[str, str], int] = {}

    @contextlib.asynccontextmanager
    async def start(self, visitor: str, tab: str, number: int = 0) -> AsyncIterator[Run]:
        """A run of `visitor` in `tab`, once the one before is stopped and has shown its end.

        `number` is the start's, counted by the visitor's page.
        """
        key = (visitor, tab)
        while before := self._runs.get(key):
            before.stop()
            await before.ended.wait()
        run = self._runs[key] = Run(number)
        if self._stopped_early.pop(key, -1) >= number:
            run.stop()
        try:
            yield run
        finally:
            del self._runs[key]
            run.ended.set()

    def stop(self, visitor: str, tab: str, number: int) -> None:
        """Stop start `number` there; if it has not come yet (requests overtake), once it comes."""
        key = (visitor, tab)
        run = self._runs.get(key)
        if run is not None and run.number >= number:
            run.stop()
            return
        self._stopped_early.pop(key, None)
        self._stopped_early[key] = number
        while len(self._stopped_early) > MOST_EARLY_STOPS:
            del self._stopped_early[next(iter(self._stopped_early))]
