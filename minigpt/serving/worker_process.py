"""A worker as the server holds it: its process, what it was asked, what it answers."""

import asyncio
import json
import os
import signal
import sys
from typing import Any

from minigpt.errors import MiniGPTError
from minigpt.generation.model_files import ModelFiles
from minigpt.serving.errors import ApiError
from minigpt.serving.inbox import Inbox
from minigpt.serving.keys import VARIABLE
from minigpt.serving.wire import Facts, NewText, line

START_SECONDS = 600.0
"""After which a worker that says nothing is given up."""


class LoadError(MiniGPTError):
    """A worker could not load its model."""

    def __init__(self, message: str, code: int) -> None:
        """`code`: as a command would end that loads it."""
        super().__init__(message)
        self.exit_code = code


class WorkerProcess(asyncio.SubprocessProtocol):
    """One process that runs one model."""

    facts: Facts

    def __init__(self, files: ModelFiles, slots: int) -> None:
        """Nothing is started yet."""
        loop = asyncio.get_running_loop()
        self.files, self.slots = files, slots
        self.stats: dict[str, int] = {}
        """Its scheduler's counts, and what waits and works."""
        self.ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        """The exit code, when it has come to its end."""
        self.retired = False
        self._half, self._number = bytearray(), 0
        self._open: dict[int, tuple[Inbox, int, int]] = {}
        self._transport: Any = None

    @property
    def open(self) -> int:
        """Texts that it writes or that wait."""
        return sum(left for _, _, left in self._open.values())

    @property
    def answers(self) -> bool:
        """Whether a request can be given to it."""
        return self.ready.done() and not self.ended.done()

    async def start(self) -> None:
        """Start it; returns when its model is loaded.

        Raises:
            LoadError: that cannot be.
        """
        command = [
            sys.executable, "-m", "minigpt.serving.worker",
            "--files", json.dumps(self.files.as_json()), "--slots", str(self.slots),
        ]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        await asyncio.get_running_loop().subprocess_exec(
            lambda: self, *command, stderr=None, env=environment
        )
        try:
            await asyncio.wait_for(asyncio.shield(self.ready), START_SECONDS)
        except TimeoutError as error:
            self.kill()
            raise LoadError(f"{self.files.name}: not loaded in {START_SECONDS:.0f} s", 1) from error

    def submit(self, asked: dict[str, Any], inbox: Inbox, prompt: int) -> int:
        """Ask for the texts of one prompt; they come to `inbox`. The number to cancel by."""
        self._number += 1
        self._open[self._number] = inbox, prompt, inbox.n
        self._say({"do": "submit", "id": self._number, **asked})
        return self._number

    def cancel(self, number: int) -> None:
        """Nobody waits for it any more."""
        if self._open.pop(number, None) is not None:
            self._say({"do": "cancel", "id": number})
            self._end_if_done()

    def end_texts(self, error: ApiError) -> None:
        """End all that it writes, with an error."""
        for number, (inbox, _, _) in list(self._open.items()):
            inbox.fail(error)
            self.cancel(number)

    def retire(self) -> None:
        """Give it nothing more; it ends with its last text."""
        self.retired = True
        self._end_if_done()

    def close(self) -> None:
        """End it now, and what it writes."""
        self.retired = True
        if self._transport is not None and (pipe := self._transport.get_pipe_transport(0)):
            pipe.close()

    def kill(self) -> None:
        """End it, whatever it is at."""
        if self._transport is not None and not self.ended.done():
            self._transport.kill()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The process has been started."""
        self._transport = transport

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Lines of its stdout, cut anywhere."""
        del fd
        self._half += data
        if b"\n" not in data:
            return
        *lines, rest = bytes(self._half).split(b"\n")
        self._half = bytearray(rest)
        for text in lines:
            self._hear(json.loads(text))

    def process_exited(self) -> None:
        """It has ended: so have the texts that it wrote."""
        code = self._transport.get_returncode()
        if not self.ready.done():
            self.ready.set_exception(LoadError(_last_words(self.files, code), 1))
            self.ready.exception()  # nobody may wait for it any more
        if not self.ended.done():
            self.ended.set_result(code)
        for inbox, _, _ in list(self._open.values()):
            inbox.died()
        self._open.clear()
        self._transport.close()

    def _hear(self, message: dict[str, Any]) -> None:
        if (stats := message.get("stats")) is not None:
            self.stats = stats
        for item in message.get("pieces", ()):
            new = NewText(*item)
            if (entry := self._open.get(new.id)) is None:
                continue
            inbox, prompt, left = entry
            if new.finish is not None:
                if left == 1:
                    del self._open[new.id]
                else:
                    self._open[new.id] = inbox, prompt, left - 1
            inbox.feed(prompt, new)
        if "taken" in message:
            if (entry := self._open.get(message["taken"])) is not None:
                entry[0].take(entry[1], message)
        elif "refused" in message:
            if (entry := self._open.pop(message["refused"], None)) is not None:
                entry[0].refuse(message["kind"], message["message"])
        elif "ready" in message:
            self.facts = Facts(**message["ready"])
            if not self.ready.done():
                self.ready.set_result(None)
        elif "failed" in message and not self.ready.done():
            self.ready.set_exception(LoadError(message["failed"], message["code"]))
            self.ready.exception()
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self.retired and not self._open:
            self.close()

    def _say(self, message: dict[str, Any]) -> None:
        pipe = None if self.ended.done() else self._transport.get_pipe_transport(0)
        if pipe is not None and not pipe.is_closing():
            pipe.write(line(message))


def _last_words(files: ModelFiles, code: int) -> str:
    """What to say of a worker that ended while it loaded."""
    if code < 0:
        name = signal.Signals(-code).name
        memory = ": is there memory enough?" if name == "SIGKILL" else ""
        return f"{files.name}: its worker was ended by {name} while it loaded{memory}"
    return f"{files.name}: its worker ended (exit {code}) while it loaded; it says why above"
