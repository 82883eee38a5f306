"""The page on a server of its own, for a server of models that runs elsewhere."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from minigpt.ui.client import Server
from minigpt.ui.page import PATH, mount

LAST_WORDS_SECONDS = 5


def serve(
    bound: socket.socket, url: str, headers: dict[str, str], on_ready: Callable[[], None]
) -> None:
    """Serve the page for the server at `url` until a signal; `on_ready`: it can be opened now."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    let_go = mount(app, url, Server(url, headers).models, headers=headers)
    app.add_route("/", _to_page)
    config = uvicorn.Config(
        app, ws="none", log_config=None, log_level="error", access_log=False, server_header=False,
        timeout_graceful_shutdown=LAST_WORDS_SECONDS,
    )  # fmt: skip
    asyncio.run(Listener(config, on_ready, let_go).serve(sockets=[bound]))


async def _to_page(_: Request) -> Response:
    return RedirectResponse(f"{PATH}/", 307)


class Listener(uvicorn.Server):
    """uvicorn's server, which says when it listens and lets the pages go when it ends."""

    def __init__(
        self, config: uvicorn.Config, on_ready: Callable[[], None], let_go: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._on_ready, self._let_go = on_ready, let_go

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's."""
        self._let_go()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal ends, the second one at once; neither is a failure."""
        del sig, frame
        self.force_exit, self.should_exit = self.should_exit, True
