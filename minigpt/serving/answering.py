"""From a checked request to its answer: given to a worker, gathered whole or sent as it comes."""

import asyncio
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from minigpt.serving.bodies import Ask
from minigpt.serving.errors import ApiError
from minigpt.serving.inbox import Inbox, Observe
from minigpt.serving.wire import NewText
from minigpt.serving.worker_process import WorkerProcess


@dataclass
class Told:
    """One text, as far as it has come."""

    text: list[str] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    finish: str | None = None
    usage: dict[str, int] | None = None


@dataclass
class Answer:
    """What a request asks, of whom, and what has come of it."""

    worker: WorkerProcess
    ask: Ask
    inbox: Inbox
    numbers: list[int]
    texts: list[Told]
    created: int

    def took(self, batch: Iterable[NewText]) -> None:
        """Keep what has come.

        Raises:
            ApiError: a text ended as none should.
        """
        for new in batch:
            told = self.texts[new.choice]
            told.text.append(new.text)
            told.tokens += new.tokens or ()
            if new.finish is not None:
                told.finish, told.usage = new.finish, new.usage
            if new.finish == "error":
                raise ApiError(500, new.error or "the model could not go on")

    def usage(self) -> dict[str, int]:
        """Tokens of all texts; a prompt counts once, whatever is written behind it."""
        total = dict.fromkeys(("prompt", "cached", "dropped", "written", "rereads"), 0)
        for number, told in enumerate(self.texts):
            for name, count in (told.usage or {}).items():
                once = name in ("prompt", "cached", "dropped")
                if not once or number % self.ask.n == 0:
                    total[name] += count
        return total

    def notes(self) -> list[str]:
        """What a reader should know of the texts."""
        usage, notes = self.usage(), []
        most = f"the model sees {self.worker.facts.context_length:,} at once"
        if usage["dropped"]:
            notes.append(
                f"the first {usage['dropped']:,} tokens of the prompt were not read: {most}"
            )
        if usage["rereads"]:
            notes.append(f"the text is longer than the model sees: {most}, the last ones")
        return notes

    def headers(self) -> dict[str, str]:
        """Which model it was, for programs that read no body."""
        files = self.worker.files
        return {"x-minigpt-version": printable(files.name), "x-minigpt-sha256": files.digest}

    def leave(self) -> None:
        """Nobody reads what is still to come."""
        for number in self.numbers:
            self.worker.cancel(number)


class Shape(ABC):
    """The words of one endpoint for an answer."""

    @abstractmethod
    def whole(self, answer: Answer) -> dict[str, Any]:
        """All of it."""

    @abstractmethod
    def opening(self, answer: Answer) -> list[dict[str, Any]]:
        """Events before the first text."""

    @abstractmethod
    def event(self, answer: Answer, new: NewText) -> list[dict[str, Any]]:
        """Events of new text."""

    @abstractmethod
    def closing(self, answer: Answer) -> list[dict[str, Any] | str]:
        """Events behind the last text."""


async def answered(
    request: Request,
    worker: WorkerProcess,
    ask: Ask,
    messages: Sequence[dict[str, Any]],
    shape: Shape,
    observe: Observe,
) -> Response:
    """The response to `request`; `messages`: what the worker is told, one a prompt.

    Raises:
        ApiError: the worker refused it, or could not go on.
    """
    inbox = Inbox(len(messages), ask.n, observe, whole=not ask.stream)
    numbers = [worker.submit(message, inbox, i) for i, message in enumerate(messages)]
    texts = [Told() for _ in range(len(messages) * ask.n)]
    answer = Answer(worker, ask, inbox, numbers, texts, int(time.time()))
    watch = asyncio.create_task(_watch(request.receive, inbox))
    handed_on = False
    try:
        await inbox.all_taken()
        if inbox.left:
            raise ClientDisconnect
        if ask.stream:
            handed_on = True
            return EventStream(answer, shape, watch)
        answer.took(await inbox.batch())
        if inbox.left:
            raise ClientDisconnect
        if inbox.error is not None:
            raise inbox.error
        return json_response(shape.whole(answer), headers=answer.headers())
    finally:
        if not handed_on:
            watch.cancel()
            answer.leave()


async def _watch(receive: Receive, inbox: Inbox) -> None:
    """Tell the inbox when the client goes."""
    while (await receive())["type"] != "http.disconnect":
        pass
    inbox.leave()


class EventStream(Response):
    """Server-sent events: one write for all that a worker's message brought."""

    media_type = "text/event-stream"

    def __init__(self, answer: Answer, shape: Shape, watch: "asyncio.Task[None]") -> None:
        """`watch`: what tells the inbox that the client has gone."""
        self.answer, self.shape, self.watch = answer, shape, watch
        self.status_code, self.background = 200, None
        self.body = b""
        self.init_headers({"cache-control": "no-store", **answer.headers()})
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, as it comes."""
        del scope, receive
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._send_events(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.watch.cancel()
            self.answer.leave()

    async def _send_events(self, send: Send) -> None:
        answer, shape, inbox = self.answer, self.shape, self.answer.inbox

        async def write(events: Iterable[dict[str, Any] | str]) -> None:
            data = b"".join(map(sse, events))
            if data:
                await send({"type": "http.response.body", "body": data, "more_body": True})

        await write(shape.opening(answer))
        while not inbox.left:
            batch = await inbox.batch()
            try:
                answer.took(batch)
            except ApiError as error:
                await write([error.shape()])
                return
            await write([event for new in batch for event in shape.event(answer, new)])
            if inbox.error is not None:
                await write([inbox.error.shape()])
                return
            if inbox.open == 0:
                await write(shape.closing(answer))
                return


def sse(event: dict[str, Any] | str) -> bytes:
    """One event as it is sent."""
    text = event if isinstance(event, str) else dumps(event)
    return f"data: {text}\n\n".encode()


dumps: Callable[[Any], str] = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), check_circular=False
).encode


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON as we write it everywhere."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return Response(text, status, headers, "application/json")


def printable(name: str) -> str:
    """A name as a header carries it: Latin-1 at most, and nothing that acts."""
    with suppress(UnicodeEncodeError):
        name.encode("latin-1")
        return name if name.isprintable() else ascii(name)[1:-1]
    return ascii(name)[1:-1]
