"""One REF that is served: its worker, started again when it dies, another one when REF moves on."""

import asyncio
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from minigpt.errors import MiniGPTError
from minigpt.generation.model_files import ModelFiles
from minigpt.registry.registry import Registry
from minigpt.registry.served import Served, find_model, folder_of, meaning_of
from minigpt.serving.notices import notice, streams
from minigpt.serving.worker_process import WorkerProcess

POLL_SECONDS = 2.0
LONGEST_PAUSE = 30.0
T = TypeVar("T")


@dataclass(frozen=True)
class Finder:
    """What a REF means, asked in a thread of its own: a store may be slow, or gone."""

    registry: Registry
    engine: str
    thread: ThreadPoolExecutor

    def find(self, ref: str) -> ModelFiles:
        """Its files, checked.

        Raises:
            MiniGPTError: there is no such model, or it is damaged.
        """
        return find_model(self.registry, ref, self.engine)

    async def files(self, ref: str) -> ModelFiles:
        """The same, while other things go on."""
        return await self._aside(self.find, ref)

    async def meaning(self, ref: str) -> Served:
        """What it names now."""
        return await self._aside(meaning_of, self.registry, ref)

    async def _aside(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, function, *arguments)


class Place:
    """A REF and the worker that answers for it."""

    def __init__(self, ref: str, files: ModelFiles, finder: Finder, slots: int) -> None:
        """`files`: what `ref` meant when it was checked."""
        self.ref, self.files, self.slots = ref, files, slots
        self.worker: WorkerProcess | None = None
        self.old: list[WorkerProcess] = []
        """Those that finish what they began."""
        self._finder, self._tried, self._silent = finder, files.digest, False
        self._failures = 0
        self._follows = folder_of(ref) is None

    @property
    def answers(self) -> bool:
        """Whether a request can be given to it."""
        return self.worker is not None and self.worker.answers

    @property
    def workers(self) -> list[WorkerProcess]:
        """All that live."""
        self.old = [worker for worker in self.old if not worker.ended.done()]
        return [*self.old, *([self.worker] if self.worker else [])]

    async def start(self) -> None:
        """Start the first worker.

        Raises:
            LoadError: it cannot load the model.
        """
        worker = WorkerProcess(self.files, self.slots)
        await worker.start()
        self.worker = worker

    async def run(self) -> None:
        """Look after it until cancelled."""
        while True:
            try:
                await self._turn()
            except Exception:  # noqa: BLE001 (a bug; but who looks after it must go on)
                traceback.print_exc()
                await asyncio.sleep(POLL_SECONDS)

    async def _turn(self) -> None:
        """Start a worker where none is; else wait a while, and see."""
        if self.worker is None:
            self._failures = 0 if await self._start_again(self._failures) else self._failures + 1
            return
        await asyncio.wait([self.worker.ended], timeout=POLL_SECONDS)
        if self.worker.ended.done():
            how = self.worker.ended.result()
            notice(f"{self.files.name}: its worker has ended (exit {how}); another is started")
            self.worker = None
        elif self._follows:
            await self._look()

    async def _start_again(self, failures: int) -> bool:
        """Start a worker where none is; whether it could be."""
        if failures:
            await asyncio.sleep(min(LONGEST_PAUSE, 0.25 * 2.0**failures))
        try:
            self.files = await self._finder.files(self.ref)
            self._tried = self.files.digest
            await self.start()
        except MiniGPTError as error:
            if failures in (0, 3) or failures % 20 == 0:
                notice(f"{self.ref} cannot be served: {error}. It is tried again")
            return False
        notice(f"{self.files.name} is ready again")
        return True

    async def _look(self) -> None:
        """Follow REF, if it means another version now."""
        try:
            served = await self._finder.meaning(self.ref)
        except MiniGPTError as error:
            if not self._silent:
                notice(f"{self.ref}: {error}. {self.files.name} goes on")
            self._silent = True
            return
        self._silent = False
        if served.digest == self.files.digest and served.name == self.files.name:
            self._tried = served.digest
            return
        if served.digest == self._tried:
            return
        self._tried = served.digest
        try:
            files = await self._finder.files(self.ref)
            worker = WorkerProcess(files, self.slots)
            await worker.start()
        except MiniGPTError as error:
            notice(f"{served.name} is {self.ref} now and cannot be served: {error}. "
                   f"{self.files.name} goes on")  # fmt: skip
            return
        self._swap(worker)

    def _swap(self, worker: WorkerProcess) -> None:
        old, before, now = self.worker, self.files, worker.files
        self.worker, self.files = worker, now
        left = 0
        if old is not None and not old.ended.done():
            left = old.open
            self.old.append(old)
            old.retire()
        before_word, now_word = _numbers(before.name, now.name)
        verb = "finishes" if left == 1 else "finish"
        notice(
            f"{now.name} is {self.ref} now: {streams(left)} {verb} on {before_word}, "
            f"new ones go to {now_word}"
        )


def _numbers(before: str, now: str) -> tuple[str, str]:
    """Two versions as short as they can be told apart: of one name, their numbers."""
    name, _, number = before.rpartition(" ")
    other, _, newer = now.rpartition(" ")
    return (number, newer) if name and name == other else (before, now)
