"""A server whose text is decided by the test: for what no model writes on demand, such as HTML.

It speaks the endpoints that the page uses. `script` is what it writes, piece by piece; `gate` lets
a test hold a stream open.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

MODELS = ["model-a", "model-b"]


@dataclass
class Fake:
    """What it writes, and what it was asked."""

    script: list[str] = field(default_factory=lambda: ["One", " two", " three"])
    gate: bool = False
    """Whether streams wait after the first piece for ever, as those of a slow model do."""
    pause: float = 0.0
    """Seconds before each piece."""
    refusal: str | None = None
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: int = 0
    """Streams whose client left before their end."""

    def reset(self) -> None:
        """As it was made."""
        self.__init__()  # type: ignore[misc]

    def app(self) -> FastAPI:
        """The server."""
        app = FastAPI()

        @app.get("/v1/models")
        async def models() -> Any:
            return {"object": "list", "data": [{"id": name} for name in MODELS]}

        @app.post("/v1/completions")
        async def completions(request: Request) -> Any:
            return await self.answer(request, self.completion_piece)

        @app.post("/v1/chat/completions")
        async def chat(request: Request) -> Any:
            return await self.answer(request, self.chat_piece)

        return app

    async def answer(self, request: Request, piece: Any) -> Any:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        if self.refusal:
            error = {"error": {"message": self.refusal, "type": "invalid_request_error"}}
            return JSONResponse(error, 400)
        return StreamingResponse(self.stream(body, piece), media_type="text/event-stream")

    async def stream(self, body: dict[str, Any], piece: Any) -> AsyncIterator[str]:
        ended = False
        try:
            for number, text in enumerate(self.script):
                await asyncio.sleep(self.pause)
                yield event(body["model"], [piece(body, text, None)])
                if self.gate and not number:
                    await asyncio.Event().wait()
            yield event(body["model"], [piece(body, "", "length")])
            usage = {"prompt_tokens": 3, "completion_tokens": len(self.script)}
            yield event(body["model"], [], usage)
            yield "data: [DONE]\n\n"
            ended = True
        finally:
            self.left += not ended

    @staticmethod
    def completion_piece(body: dict[str, Any], text: str, finish: str | None) -> dict[str, Any]:
        text = f"{body['model']} {body['seed']}" if text == "NAME" else text
        logprobs = {
            "tokens": [text],
            "token_logprobs": [-0.7],
            "top_logprobs": [{text: -0.7, "else": -2.0, "<b>bold</b>": -3.0}],
        }
        shown = logprobs if body.get("logprobs") and text else None
        return {"index": 0, "text": text, "logprobs": shown, "finish_reason": finish}

    @staticmethod
    def chat_piece(body: dict[str, Any], text: str, finish: str | None) -> dict[str, Any]:
        text = f"seed {body['seed']}" if text == "SEED" else text
        return {"index": 0, "delta": {"content": text}, "finish_reason": finish}


def event(model: str, choices: list[Any], usage: Any = None) -> str:
    return f"data: {json.dumps({'model': model, 'choices': choices, 'usage': usage})}\n\n"
