"""What stands before every route: keys, rates, draining, request ids, counting. Plain ASGI."""

import re
import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt.serving.answering import json_response
from minigpt.serving.errors import ApiError
from minigpt.serving.keys import Keys
from minigpt.serving.metrics import Metrics
from minigpt.serving.rates import Rates

OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", "/", "/favicon.ico"})
"""Routes that tell nothing of anybody: no key is asked for."""
PAGE = "/ui"
"""The page has a login of its own."""
SANE_ID = re.compile(r"[A-Za-z0-9_.:/+=@-]{1,128}")
DRAIN_SECONDS = 30


class Traffic:
    """What is on its way, and whether more may come."""

    def __init__(self) -> None:
        self.open, self.draining = 0, False


class Gate:
    """The outermost room of the app."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        rates: Rates,
        traffic: Traffic,
        metrics: Metrics,
        origins: Sequence[str],
        routes: frozenset[str],
    ) -> None:
        """`origins`: other sites whose pages may ask; `routes`: paths that are counted by name."""
        self.app, self.keys, self.rates, self.traffic = app, keys, rates, traffic
        self.metrics, self.origins, self.routes = metrics, frozenset(origins), routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in, or not."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if SANE_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
        status = 500

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        counts = scope["method"] == "POST" and not self._is_page(scope)
        self.traffic.open += counts
        try:
            self._admit(scope, headers, counts)
            await self.app(scope, receive, named)
        except ApiError as error:
            response = json_response(error.shape(), error.status, error.headers)
            await response(scope, receive, named)
        finally:
            self.traffic.open -= counts
            self.metrics.request(self._route(scope), status)

    def _admit(self, scope: Scope, headers: Headers, counts: bool) -> None:
        """Return if it may come in.

        Raises:
            ApiError: why not.
        """
        path = scope["path"]
        holder = None
        free = path in OPEN or self._is_page(scope) or scope["method"] == "OPTIONS"
        if self.keys and not free:
            holder = self.keys.holder(headers.get("authorization"))
            if holder is None:
                raise ApiError(
                    401,
                    "this server wants a key: Authorization: Bearer KEY",
                    code="invalid_api_key",
                    headers={"www-authenticate": "Bearer"},
                )
        self._refuse_other_sites(headers)
        if not counts:
            return
        if self.traffic.draining:
            raise ApiError(
                503, "the server is ending; nothing new is begun", code="draining",
                retry_after=DRAIN_SECONDS,
            )  # fmt: skip
        wait = self.rates.wait(holder or (scope["client"] or ("", 0))[0])
        if wait is not None:
            raise ApiError(
                429, f"too many requests; the next one may come in {wait} s",
                code="rate_limit_exceeded", retry_after=wait,
            )  # fmt: skip

    def _refuse_other_sites(self, headers: Headers) -> None:
        """Where no key is wanted, any page in the user's browser could ask: only ours may.

        Raises:
            ApiError: the page is another site's.
        """
        origin = headers.get("origin")
        if self.keys or origin is None or origin in self.origins or "*" in self.origins:
            return
        if urlsplit(origin).netloc != headers.get("host"):
            raise ApiError(
                403, "pages of other sites may not ask this server. Start it with --cors ORIGIN"
            )

    def _is_page(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path == PAGE or path.startswith(f"{PAGE}/")

    def _route(self, scope: Scope) -> str:
        """Its path where that is a route of ours: what people invent would be a label each."""
        path: str = scope["path"]
        if self._is_page(scope):
            return PAGE
        if path.startswith("/v1/models/"):
            return "/v1/models/{model}"
        return path if path in self.routes else "other"
