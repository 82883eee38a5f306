"""What comes from workers for one answer: its texts, as they are written."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from minigpt.serving.errors import ApiError, unavailable
from minigpt.serving.wire import BUSY, NewText

ENDED = "the process that ran the model has ended; another one is started. Ask again"
BUSY_SECONDS = 1
FIELDS = {"lark": "grammar", "json": "json_schema"}
"""What a body calls the kinds of generation.request.Constraint."""
Observe = Callable[[float, float | None, int], None]
"""Seconds to the first token, seconds a token behind it (None of a single one), tokens."""


class Inbox:
    """Texts of one answer: `prompts` prompts, `n` texts of each; read by one task."""

    def __init__(self, prompts: int, n: int, observe: Observe, *, whole: bool = False) -> None:
        """`whole`: the reader is woken only when all of it is there."""
        self.n, self.open, self.taken = n, prompts * n, list[dict[str, Any]]()
        self.error: ApiError | None = None
        self._prompts, self._whole, self._observe = prompts, whole, observe
        self._news: list[NewText] = []
        self._waits: asyncio.Future[None] | None = None
        self._began, self._first = time.perf_counter(), dict[int, float]()
        self._ended: set[int] = set()
        self.left = False

    def take(self, prompt: int, facts: dict[str, Any]) -> None:
        """The worker has taken prompt number `prompt`."""
        self.taken.append({"prompt": prompt, **facts})
        if len(self.taken) == self._prompts:
            self._wake()

    def refuse(self, kind: str, message: str) -> None:
        """The worker does not take one of the prompts."""
        if kind == BUSY:
            error = ApiError(429, message, code="queue_full", retry_after=BUSY_SECONDS)
        else:
            word, colon, rest = message.partition(":")
            param = FIELDS.get(word, word)
            message = f"{param}{colon}{rest}"
            error = ApiError(400, message, param=param if param.isidentifier() else None)
        self.fail(error)

    def feed(self, prompt: int, new: NewText) -> None:
        """New text of a choice of prompt number `prompt`."""
        new = new._replace(choice=prompt * self.n + new.choice)
        if new.choice in self._ended:
            return
        now = time.perf_counter()
        first = self._first.setdefault(new.choice, now)
        if new.finish is not None:
            self._ended.add(new.choice)
            self.open -= 1
            written = (new.usage or {}).get("written", 0)
            if new.usage is not None and written:
                pace = (now - first) / (written - 1) if written > 1 else None
                self._observe(first - self._began, pace, written)
        self._news.append(new)
        if not self._whole or self.open == 0:
            self._wake()

    def fail(self, error: ApiError) -> None:
        """Nothing more will come: every text that is open ends here."""
        self.error = self.error or error
        self._wake()

    def died(self) -> None:
        """The worker has ended before its time."""
        if self.open:
            self.fail(unavailable(ENDED))

    def leave(self) -> None:
        """The client has gone."""
        self.left = True
        self._wake()

    async def all_taken(self) -> None:
        """Return when every prompt was taken.

        Raises:
            ApiError: one was refused.
        """
        while len(self.taken) < self._prompts and not self.left:
            if self.error is not None:
                raise self.error
            await self._more()
        if self.error is not None and not self._news:
            raise self.error

    async def batch(self) -> list[NewText]:
        """What has come since the last time, at least one; none when nothing more will come."""
        while not self._ready():
            await self._more()
        news, self._news = self._news, []
        return news

    def _ready(self) -> bool:
        if self.left or self.error is not None or self.open == 0:
            return True
        return bool(self._news) and not self._whole

    async def _more(self) -> None:
        self._waits = asyncio.get_running_loop().create_future()
        try:
            await self._waits
        finally:
            self._waits = None

    def _wake(self) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)
