"""The process that listens: it starts, drains and ends."""

import asyncio
import ipaddress
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn

from minigpt.errors import MiniGPTError, ParamsError
from minigpt.serving.app import create_app
from minigpt.serving.connections import Connection
from minigpt.serving.errors import unavailable
from minigpt.serving.fleet import ENDING, Fleet
from minigpt.serving.gate import Traffic
from minigpt.serving.keys import Keys
from minigpt.serving.notices import notice
from minigpt.serving.rates import Rates

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""Longer than the pools of clients keep a connection, so that none asks into one that closes."""
LAST_WORDS_SECONDS = 5
LAST_PORT = 65_535
FILES = 65_536
"""Open files: each connection is one."""
Mount = Callable[..., Callable[[], None]]
"""minigpt.ui.page.mount: (app, base_url, models, headers=, login=) → what ends its connections."""


@dataclass(frozen=True)
class Settings:
    """How to serve."""

    rate: int | None = None
    """Requests of one key a minute."""
    origins: Sequence[str] = ()
    drain_seconds: float = 30.0
    """How long open streams may go on once the server was told to end."""
    mount: Mount | None = None
    """What puts the page for people into the app."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ParamsError: the address is taken, or none of this machine.
    """
    family, address = _resolved(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        other = port + 1 if port < LAST_PORT else 8000
        raise ParamsError(
            f"port {port} of {host}: {_reason(error)}. Take another: minigpt serve --port {other}"
        ) from error
    bound.setblocking(False)
    return bound


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens on `host`.

    Raises:
        ParamsError: it is no address.
    """
    return ipaddress.ip_address(str(_resolved(host, 0)[1][0]).partition("%")[0]).is_loopback


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ParamsError(f"--host {host}: {_reason(error)}") from error
    return family, address


def url_of(bound: socket.socket) -> str:
    """What to type to reach it from this machine."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    make_fleet: Callable[[], Fleet],
    bound: socket.socket,
    keys: Keys,
    settings: Settings,
    on_ready: Callable[[], None],
) -> None:
    """Serve until told to end; `on_ready` is called once every model answers.

    Raises:
        MiniGPTError: a model cannot be loaded.
    """
    raise_file_limit()
    asyncio.run(_serve(make_fleet, bound, keys, settings, on_ready))


async def _serve(
    make_fleet: Callable[[], Fleet],
    bound: socket.socket,
    keys: Keys,
    settings: Settings,
    on_ready: Callable[[], None],
) -> None:
    fleet, traffic = make_fleet(), Traffic()
    app = create_app(
        fleet, keys=keys, rates=Rates(settings.rate), traffic=traffic, base_url=url_of(bound),
        origins=settings.origins, page=settings.mount is not None,
    )  # fmt: skip
    let_go = None
    if settings.mount is not None:
        own = {"authorization": f"Bearer {keys.page_key}"}
        login = keys.admits if keys else None
        let_go = settings.mount(app, url_of(bound), fleet.models, headers=own, login=login)
    config = uvicorn.Config(
        app, http=Connection, ws="none", log_config=None, log_level="error", access_log=False,
        proxy_headers=False, server_header=False, backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=LAST_WORDS_SECONDS,
    )  # fmt: skip
    server = Listener(config, fleet, traffic, settings.drain_seconds, let_go)
    listening = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        starting = asyncio.create_task(fleet.start())
        await asyncio.wait([starting, listening], return_when=asyncio.FIRST_COMPLETED)
        if listening.done():  # told to end while it loads
            starting.cancel()
        else:
            await starting
            on_ready()
        await listening
    except MiniGPTError:
        server.should_exit = True
        await listening
        raise
    finally:
        await fleet.stop()


class Listener(uvicorn.Server):
    """uvicorn's server, which goes on listening while it drains."""

    def __init__(
        self,
        config: uvicorn.Config,
        fleet: Fleet,
        traffic: Traffic,
        drain_seconds: float,
        let_go: Callable[[], None] | None = None,
    ) -> None:
        """`drain_seconds`: how long what is open may go on; `let_go`: ends what never would."""
        super().__init__(config)
        self._let_go = let_go
        self._fleet, self._traffic, self._drain_seconds = fleet, traffic, drain_seconds
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one ends."""
        del frame
        if self._traffic.draining:
            sys.stderr.write("ended at once\n")
            sys.stderr.flush()
            os._exit(128 + sig)  # the workers end with their stdin
        self._traffic.draining = True
        self._until = time.monotonic() + self._drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: ten times a second."""
        ends = await super().on_tick(counter)
        if self._until is None:
            return ends
        traffic, late = self._traffic, time.monotonic() > self._until
        if self._drain_seconds and counter and not late and traffic.open:
            if not self._said:
                notice(
                    f"draining: {traffic.open} open requests may go on for "
                    f"{self._drain_seconds:.0f} s; a second signal ends at once"
                )
                self._said = True
            return ends
        if late and traffic.open:
            for worker in self._fleet.workers:
                worker.end_texts(unavailable(ENDING))
        if self._let_go is not None:
            self._let_go()
        return True

    _said = False


def raise_file_limit() -> None:
    """As many open files as the system lets us have: a connection is one."""
    with suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
        if soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error)
    return words[:1].lower() + words[1:]
