"""The server, as its page sees it: streams of text over HTTP, in OpenAI's shape."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from minigpt.errors import MiniGPTError

CONNECT_SECONDS = 10.0
ASK_SECONDS = 30.0
EVENT = "data:"
DONE = "[DONE]"


class ServerError(MiniGPTError):
    """The server refused, failed or is not there; the message says which."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """`status`: of the HTTP answer, where there was one."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class ShownToken:
    """A token written, and what else was likely."""

    text: str
    logprob: float
    alternatives: tuple[tuple[str, float], ...] = ()
    """Text and log-probability, the likeliest first."""


@dataclass(frozen=True)
class Delta:
    """What came of one text."""

    text: str = ""
    tokens: tuple[ShownToken, ...] = ()
    """Where log-probabilities were asked for."""
    finish: str | None = None
    written: int | None = None
    """Tokens of the whole text; comes once, at its end."""
    model: str | None = None
    """Who wrote it."""
    error: str | None = None
    """What ended it, in a sentence."""


class Server:
    """Endpoints at one address."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = dict(headers or {})
        self._http: httpx.AsyncClient | None = None

    def complete(self, body: Mapping[str, Any]) -> AsyncIterator[Delta]:
        """Continue `body["prompt"]`."""
        return self._stream("/v1/completions", body)

    def chat(self, body: Mapping[str, Any]) -> AsyncIterator[Delta]:
        """Answer `body["messages"]`."""
        return self._stream("/v1/chat/completions", body)

    def models(self) -> list[str]:
        """Ids of what it serves; waits for the answer.

        Raises:
            ServerError: it does not say.
        """
        try:
            with httpx.Client(headers=self._headers, timeout=ASK_SECONDS, trust_env=False) as http:
                answer = http.get(f"{self.url}/v1/models")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._unreachable(error) from error
        if answer.is_error:
            message = refusal(answer.status_code, answer.content, answer.headers)
            raise ServerError(message, answer.status_code)
        try:
            return [str(model["id"]) for model in answer.json()["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"{self.url}/v1/models gives no list of models") from error

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:  # made in the loop that uses it
            self._http = httpx.AsyncClient(
                base_url=self.url,
                headers=self._headers,
                timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
                trust_env=False,  # a proxy must not be asked for this machine
            )
        return self._http

    async def _stream(self, path: str, body: Mapping[str, Any]) -> AsyncIterator[Delta]:
        """What comes, as it comes. Leaving early closes the connection, which stops the server.

        Raises:
            ServerError: it refused, or broke off.
        """
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        try:
            async with self._client().stream("POST", path, json=asked) as answer:
                if answer.is_error:
                    content = await answer.aread()
                    raise ServerError(refusal(answer.status_code, content, answer.headers))
                ended = False
                async for line in answer.aiter_lines():
                    data = line.removeprefix(EVENT).strip()
                    if not line.startswith(EVENT) or not data:
                        continue
                    if data == DONE:
                        ended = True
                        break
                    yield read_event(json.loads(data))
                if not ended:
                    raise ServerError("the server broke off before the text had ended")
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> ServerError:
        return ServerError(
            f"the server at {self.url} does not answer ({type(error).__name__}). Is it running?"
        )


def read_event(event: Mapping[str, Any]) -> Delta:
    """One event of a stream.

    Raises:
        ServerError: the event says that the server failed.
    """
    if error := event.get("error"):
        raise ServerError(str(error.get("message", error) if isinstance(error, dict) else error))
    usage = event.get("usage") or {}
    choices = event.get("choices") or [{}]
    choice: dict[str, Any] = choices[0]
    delta = choice.get("delta") or {}
    return Delta(
        text=choice.get("text") or delta.get("content") or "",
        tokens=read_tokens(choice.get("logprobs")),
        finish=choice.get("finish_reason"),
        written=usage.get("completion_tokens"),
        model=event.get("model"),
    )


def read_tokens(logprobs: Mapping[str, Any] | None) -> tuple[ShownToken, ...]:
    """The tokens of a completion's `logprobs`."""
    if not logprobs:
        return ()
    tokens = logprobs.get("tokens") or []
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        ShownToken(text, logprob or 0.0, likeliest(top or {}))
        for text, logprob, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True)
    )


def likeliest(top: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Alternatives, the likeliest first."""
    return tuple(sorted(top.items(), key=lambda item: -item[1]))


def refusal(status: int, content: bytes, headers: Mapping[str, str]) -> str:
    """What a refusal says to a person."""
    try:
        message = str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = f"the server answered {status}"
    wait = headers.get("retry-after")
    return f"{message} (try again in {wait} s)" if wait else message
