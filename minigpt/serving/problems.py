"""A body that is wrong: which field, what stands there, what is expected, in one sentence."""

import difflib
import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from minigpt.log import excerpt
from minigpt.serving.errors import ApiError

NOT_HERE = {
    "tools": "no model here calls tools",
    "tool_choice": "no model here calls tools",
    "functions": "no model here calls functions",
    "function_call": "no model here calls functions",
    "audio": "no model here speaks",
    "web_search_options": "no model here searches the web",
}
"""Fields of OpenAI's that cannot be followed, and would change the answer."""
NOTHING: tuple[Any, ...] = (None, [], {}, "none", "auto", False)
"""Values of them that ask for nothing."""
HARD = {
    "suffix": "text cannot be written towards a suffix here; leave it out",
    "modalities": 'only ["text"] is possible here',
}


def parsed(data: bytes, kind: type[BaseModel], unchanging: tuple[str, ...] = ()) -> Any:
    """A body as `kind`; fields in `unchanging` are read over.

    Raises:
        ApiError: it is no JSON, or not of that kind.
    """
    value = object_in(data)
    for name in [name for name in unchanging if name in value]:
        del value[name]
    for name in [name for name in NOT_HERE if name in value and unchanging]:
        if json.dumps(value.pop(name)) not in map(json.dumps, NOTHING):  # 0 is not false
            raise ApiError(400, f"{name}: {NOT_HERE[name]}; leave it out", param=name)
    try:
        return kind.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise problem(error, kind=kind) from error


def object_in(data: bytes) -> dict[str, Any]:
    """The JSON object that a body is.

    Raises:
        ApiError: it is something else.
    """
    try:
        value = from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not JSON: {excerpt(str(error), 120)}") from error
    if not isinstance(value, dict):
        raise ApiError(400, 'the body is no JSON object; expected {"…": …}')
    return value


def problem(
    error: ValidationError, field: str | None = None, kind: type[BaseModel] | None = None
) -> ApiError:
    """The first thing that is wrong, as an answer."""
    first = _deepest(error)
    place = [str(part) for part in first["loc"] if not _is_branch(part)]
    name = field or ".".join(place)
    sentence = _sentence(name, first, kind)
    before, colon, _ = sentence.partition(": ")
    param = name or (before if colon and before.isidentifier() else None)
    return ApiError(400, sentence, param=param)


def _deepest(error: ValidationError) -> Any:
    """Of the branches of a union, the one that went furthest is the one that was meant."""
    errors = error.errors(include_url=False, include_context=False)
    for kind, depth in (("literal_error", 9), ("extra_forbidden", 1)):
        if named := [e for e in errors if e["type"] == kind and len(e["loc"]) <= depth]:
            return named[0]
    here = [e for e in errors if e["loc"][:1] == errors[0]["loc"][:1]]
    return max(here, key=lambda e: len(e["loc"]))


def _is_branch(part: Any) -> bool:
    """Whether it names a branch of a union (`list[str]`), not a place in the body."""
    return isinstance(part, str) and (part in ("str", "int") or "[" in part)


def _sentence(name: str, first: Any, kind: type[BaseModel] | None) -> str:
    if name in HARD:
        return f"{name}: {HARD[name]}"
    if first["type"] == "extra_forbidden":
        fields = list(kind.model_fields) if kind is not None and "." not in name else []
        close = difflib.get_close_matches(name[:100], fields, n=1)
        return f"{excerpt(name)}: unknown field" + (f"; did you mean {close[0]}?" if close else "")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message.startswith("Input") else message
    value = first["input"]
    if isinstance(value, bool | None):
        shown = json.dumps(value)
    elif isinstance(value, int | float | str):
        shown = excerpt(str(value)) if not isinstance(value, int) else _number(value)
    else:
        return f"{name}: {message}" if name else message
    return f"{name}: {message} (found {shown})" if name else message


def _number(value: int) -> str:
    return str(value) if abs(value) < 10**20 else "a number of more than 20 digits"
