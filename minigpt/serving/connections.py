"""Connections that cannot be held for nothing: what uvicorn leaves to a proxy in front of it."""

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from minigpt.serving.errors import shape_of

HEAD_SECONDS = 30.0
"""In which a request must have come, from its connection or its first byte to its last header."""
STALLED_SECONDS = 60.0
"""After which a client that reads nothing of its answer is given up."""
LINGER_SECONDS = 10.0
"""How long the rest of a body that nobody wants is read, so that its sender sees the answer."""


class Connection(H11Protocol):
    """A connection of uvicorn's, with limits."""

    _timer: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Somebody has come; a request must follow."""
        super().connection_made(transport)
        self._limit(HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; of what they are the beginning, the rest must follow."""
        idle = self._idle
        super().data_received(data)
        if not self._idle:
            self._limit(None)
        elif self._timer is None and idle:
            self._limit(HEAD_SECONDS)

    def on_response_complete(self) -> None:
        """An answer was given."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and self._idle:
            self._limit(LINGER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._limit(None)
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is answered in HTTP, once."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        body = json.dumps(shape_of(400, f"{msg.rstrip('.')}: this is not HTTP/1.1")).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def _idle(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _limit(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if seconds is None else self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        self.transport.close()
