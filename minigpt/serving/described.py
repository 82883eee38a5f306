"""What openapi.json says of each route: bodies, answers, errors."""

from typing import Any

from minigpt.serving.bodies import UNCHANGING, ChatBody, CompletionBody, GenerateBody
from minigpt.serving.problems import NOT_HERE, NOTHING

REF = "#/components/schemas/{model}"
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
EVENT = {"type": "object", "properties": {"data": {"type": "string"}}}
"""One event of a stream: JSON, or OpenAI's last word."""
ERRORS = {
    400: "Something in it is wrong: `param` says what.",
    401: "A key is wanted.",
    403: "The page of another site asks.",
    404: "No such model.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    429: "Too many at once: see the header retry-after.",
    500: "The server's fault.",
    503: "Nobody can answer now: see the header retry-after.",
}
TEXTS = {
    "generate": "Continue a text.",
    "completions": "Continue texts, as OpenAI's completions do.",
    "chat": "The next turn of a conversation, as OpenAI's chat completions give it.",
    "models": "The models that are served.",
    "model": "One model: its id, the ref it is served by, or minigpt for the first.",
    "healthz": "Whether the server lives.",
    "readyz": "Whether every model can answer.",
    "metrics": "Figures for Prometheus.",
}
ASKS = {"generate": GenerateBody, "completions": CompletionBody, "chat": ChatBody}


def _bodies() -> dict[str, Any]:
    bodies: dict[str, Any] = {"Error": ERROR}
    for name, kind in ASKS.items():
        schema = kind.model_json_schema(ref_template=REF)
        bodies |= schema.pop("$defs", {})
        if name != "generate":  # read over, whatever they hold; or allowed while they ask nothing
            schema["properties"] |= {
                field: {"description": "Changes nothing here."} for field in UNCHANGING
            }
            schema["properties"] |= {
                field: {"enum": list(NOTHING), "description": f"Refused: {why}."}
                for field, why in NOT_HERE.items()
            }
        bodies[kind.__name__] = schema
    return bodies


BODIES = _bodies()
"""components.schemas."""


def described(name: str) -> dict[str, Any]:
    """Keyword arguments of a route."""
    answers: dict[int | str, Any] = {
        200: {
            "description": "Done.",
            "content": {"application/json": {"schema": {"type": "object"}}},
        }
    }
    errors = {401, 403, 500}
    if name in ASKS:
        errors |= set(ERRORS)
        answers[200]["content"]["text/event-stream"] = {"schema": EVENT}
    elif name == "model":
        errors |= {404}
    elif name in ("healthz", "readyz"):
        errors = {403, 503}
    elif name == "metrics":
        answers[200]["content"] = {"text/plain": {"schema": {"type": "string"}}}
    for status in sorted(errors):
        answers[status] = {
            "description": ERRORS[status],
            "content": {"application/json": {"schema": {"$ref": REF.format(model="Error")}}},
        }
    said: dict[str, Any] = {
        "summary": TEXTS[name],
        "responses": answers,
        "operation_id": name,
        "response_model": None,
    }
    if name in ASKS:
        content = {"application/json": {"schema": {"$ref": REF.format(model=ASKS[name].__name__)}}}
        said["openapi_extra"] = {"requestBody": {"required": True, "content": content}}
    return said
