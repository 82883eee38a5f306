"""The routes of the server."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, RedirectResponse, Response

from minigpt import __version__
from minigpt.serving import docs_page, generate, openai
from minigpt.serving.answering import answered, json_response
from minigpt.serving.bodies import UNCHANGING, ChatBody, CompletionBody, GenerateBody
from minigpt.serving.described import BODIES, described
from minigpt.serving.errors import ApiError, shape_of
from minigpt.serving.fleet import Fleet
from minigpt.serving.gate import PAGE, Gate, Traffic
from minigpt.serving.keys import Keys
from minigpt.serving.metrics import MEDIA_TYPE, Metrics
from minigpt.serving.place import Place
from minigpt.serving.problems import parsed
from minigpt.serving.rates import Rates

LARGEST_BODY = 1 << 20
"""Bytes: 65,536 tokens of text are a quarter of it."""
BODY_SECONDS = 60.0
"""In which a body must have come whole."""
GONE = 499
"""nginx's status of a request whose client has left; nobody reads it."""


def create_app(
    fleet: Fleet,
    *,
    keys: Keys,
    rates: Rates,
    traffic: Traffic,
    base_url: str,
    origins: Sequence[str] = (),
    page: bool = False,
) -> FastAPI:
    """The app.

    Args:
        fleet: the models that are served.
        keys: who may ask.
        rates: how often.
        traffic: what is on its way.
        base_url: where it listens, for examples on its pages.
        origins: other sites whose pages may ask.
        page: whether a page for people is mounted at /ui.
    """
    metrics = Metrics(fleet)
    app = FastAPI(title="minigpt", version=__version__, docs_url=None, redoc_url=None)

    async def serve(request: Request, body: Any, ask: Any, messages: Any, shape: Any) -> Response:
        worker = fleet.worker(body.model)
        observe = metrics.observer(worker.files.name)
        return await answered(request, worker, ask, messages, shape, observe)

    @app.post("/generate", **described("generate"))
    async def post_generate(request: Request) -> Response:
        body = parsed(await body_of(request), GenerateBody)
        ask, message = generate.ask(body)
        return await serve(request, body, ask, [message], generate.Generated())

    @app.post("/v1/completions", **described("completions"))
    async def post_completions(request: Request) -> Response:
        body = parsed(await body_of(request), CompletionBody, UNCHANGING)
        ask, messages = openai.ask_completion(body)
        prompts = [message["prompt"] for message in messages]
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        shape = openai.Completion(prompts, echo=bool(body.echo), include_usage=usage)
        return await serve(request, body, ask, messages, shape)

    @app.post("/v1/chat/completions", **described("chat"))
    async def post_chat(request: Request) -> Response:
        body = parsed(await body_of(request), ChatBody, UNCHANGING)
        ask, message = openai.ask_chat(body)
        usage = body.stream_options is not None and bool(body.stream_options.include_usage)
        return await serve(request, body, ask, [message], openai.Chat(include_usage=usage))

    @app.get("/v1/models", **described("models"))
    async def get_models() -> Response:
        data = {place.files.id: model_card(fleet, place) for place in fleet.places}
        return json_response({"object": "list", "data": list(data.values())})

    @app.get("/v1/models/{model:path}", **described("model"))
    async def get_model(model: str) -> Response:
        return json_response(model_card(fleet, fleet.place(model)))

    @app.get("/healthz", **described("healthz"))
    async def get_healthz() -> Response:
        return json_response({"status": "alive"})

    @app.get("/readyz", **described("readyz"))
    async def get_readyz() -> Response:
        if traffic.draining:
            raise ApiError(503, "the server is ending", code="draining")
        if not fleet.ready:
            raise ApiError(503, "a model is being loaded", code="unavailable", retry_after=2)
        return json_response({"status": "ready", "models": fleet.models()})

    @app.get("/metrics", **described("metrics"))
    async def get_metrics() -> Response:
        return Response(metrics.text(), media_type=MEDIA_TYPE)

    @app.get("/docs", include_in_schema=False)
    async def get_docs() -> Response:
        return HTMLResponse(docs_page.page(app.openapi(), base_url))

    @app.get("/", include_in_schema=False)
    async def get_root() -> Response:
        return RedirectResponse(f"{PAGE}/" if page else "/docs", 307)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(
                title="minigpt",
                version=__version__,
                routes=app.routes,
                description="Text from the models of this project, in its own words and OpenAI's.",
            )
            app.openapi_schema.setdefault("components", {})["schemas"] = BODIES
            for operations in app.openapi_schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].pop("422", None)  # FastAPI's own: here it is 400
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
    app.add_exception_handler(ApiError, _told)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(ClientDisconnect, _left)
    app.add_exception_handler(Exception, _bug)
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "x-minigpt-version", "x-minigpt-sha256"],
        )
    routes = frozenset(getattr(route, "path", "") for route in app.routes)
    app.add_middleware(
        Gate, keys=keys, rates=rates, traffic=traffic, metrics=metrics, origins=origins,
        routes=routes,
    )  # fmt: skip
    return app


async def body_of(request: Request) -> bytes:
    """The body, if it is not too large and comes in time.

    Raises:
        ApiError: it is, or does not.
    """
    length = request.headers.get("content-length", "")
    data = bytearray()
    too_large = ApiError(
        413, f"the body is larger than {LARGEST_BODY:,} bytes", code="body_too_large"
    )
    if length.isdecimal() and int(length) > LARGEST_BODY:
        raise too_large
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > LARGEST_BODY:
                    raise too_large
    except TimeoutError as error:
        raise ApiError(408, f"the body did not come in {BODY_SECONDS:.0f} s") from error
    return bytes(data)


def model_card(fleet: Fleet, place: Place) -> dict[str, Any]:
    """What is told of a model."""
    worker = place.worker
    facts = getattr(worker, "facts", None)
    return {
        "id": place.files.id,
        "object": "model",
        "created": int(fleet.began),
        "owned_by": "minigpt",
        "version": place.files.name,
        "sha256": place.files.digest,
        "engine": place.files.engine,
        "ref": place.ref,
        "kind": "chat" if facts is not None and facts.chats else "base",
        "context_length": None if facts is None else facts.context_length,
        "ready": place.answers,
    }


async def _told(_request: Request, error: Any) -> Response:
    return json_response(error.shape(), error.status, error.headers)


async def _unknown(request: Request, error: Any) -> Response:
    message = {
        404: "there is nothing at this address; see /docs",
        405: f"{request.method} is not possible here; see the header allow",
    }.get(error.status_code, str(error.detail))
    shape = shape_of(error.status_code, message)
    return json_response(shape, error.status_code, dict(error.headers or {}))


async def _left(_request: Request, _error: Exception) -> Response:
    return Response(status_code=GONE)


async def _bug(_request: Request, _error: Exception) -> Response:
    return json_response(shape_of(500, "a bug of the server; its log says more"), 500)
