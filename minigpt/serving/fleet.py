"""All models that are served, and which of them a request means."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from minigpt.log import excerpt
from minigpt.serving.errors import ApiError, unavailable
from minigpt.serving.place import Place
from minigpt.serving.worker_process import WorkerProcess

ENDING = "the server is ending"
GRACE_SECONDS = 3.0


class Fleet:
    """The places, the first of which answers where a request names none."""

    def __init__(self, places: Sequence[Place], default_name: str) -> None:
        """`default_name`: of the registered model; it too means the first place."""
        self.places, self.began = list(places), time.time()
        self._default = {"minigpt", default_name}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start every worker, then look after them.

        Raises:
            LoadError: one cannot load its model; none is left running.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for place in self.places:
                    group.create_task(place.start())
        except BaseExceptionGroup as errors:
            await self.stop()
            raise errors.exceptions[0] from None
        self._tasks = [asyncio.create_task(place.run()) for place in self.places]

    async def stop(self) -> None:
        """End every worker, and with it what it writes."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        workers = [worker for place in self.places for worker in place.workers]
        for worker in workers:
            worker.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                for worker in workers:
                    await asyncio.shield(worker.ended)
        for worker in workers:
            worker.kill()

    @property
    def ready(self) -> bool:
        """Whether every model can answer."""
        return all(place.answers for place in self.places)

    @property
    def workers(self) -> list[WorkerProcess]:
        """All that live."""
        return [worker for place in self.places for worker in place.workers]

    @property
    def open(self) -> int:
        """Texts that are being written or wait."""
        return sum(worker.open for worker in self.workers)

    def models(self) -> list[str]:
        """Ids of what is served, the first one first."""
        return list(dict.fromkeys(place.files.id for place in self.places))

    def place(self, name: str | None) -> Place:
        """What a request means by `model`.

        Raises:
            ApiError: nothing that is served.
        """
        if name is None or name in self._default:
            return self.places[0]
        for place in self.places:
            if name in (place.ref, place.files.id, place.files.name):
                return place
        known = ", ".join(self.models())
        raise ApiError(
            404,
            f"the model {excerpt(name)!r} is not served here; there are: {known}",
            param="model",
            code="model_not_found",
        )

    def worker(self, name: str | None) -> WorkerProcess:
        """Who answers for it.

        Raises:
            ApiError: nothing of that name is served, or its worker is being started.
        """
        place = self.place(name)
        if place.worker is None or not place.worker.answers:
            raise unavailable(f"{place.files.name} is being loaded. Ask again in a moment")
        return place.worker
