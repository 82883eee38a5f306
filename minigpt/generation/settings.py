"""Settings of a request by flat names, as a person, a file or an option gives them.

They are those of `Request` and `Sampling`, and json_schema, regex or grammar for a constraint.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from minigpt.errors import ParamsError
from minigpt.generation.request import Request, Sampling
from minigpt.log import excerpt
from minigpt.params_errors import near

CONSTRAINTS = {"json_schema": "json", "regex": "regex", "grammar": "lark"}
"""Name of a setting → kind of a constraint."""
OF_SAMPLING = tuple(Sampling.model_fields)
OF_REQUEST = tuple(
    name
    for name in Request.model_fields
    if name not in ("prompt", "sampling", "constraint", "timeout")
)
NAMES = (*OF_REQUEST, *OF_SAMPLING, *CONSTRAINTS)
"""What may be set."""
USUAL = ("max_tokens", "temperature", "top_k", "top_p", "seed")
"""Settings that are told even where they have their default."""
ANY_PROMPT = (0,)
OTHER_WORDS = {
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid tuple": "a list",
    "a valid string": "a text",
    "a valid boolean": "true or false",
    "a valid dictionary": "token ids with numbers",
}
"""pydantic's, in a person's."""


def request_of(
    values: Mapping[str, Any],
    prompt: Sequence[int] = ANY_PROMPT,
    shown: Callable[[str], str] = str,
) -> Request:
    """The request that `values` ask for; `shown` is what a setting is called where it was given.

    Raises:
        ParamsError: names the setting that is unknown or not allowed, and what is expected.
    """
    asked: dict[str, Any] = {"prompt": tuple(prompt)}
    sampling: dict[str, Any] = {}
    for name, value in values.items():
        if name not in NAMES:
            raise ParamsError(f"{shown(excerpt(name))}: no such setting{near(name, NAMES)}")
        if name in OF_SAMPLING:
            sampling[name] = by_number(value) if name == "logit_bias" else value
        elif name in OF_REQUEST:
            asked[name] = as_tuple(value) if name in ("stop", "stop_tokens") else value
    asked["constraint"] = constraint_in(values, shown)
    try:
        asked["sampling"] = Sampling.model_validate(sampling, strict=True)
        return Request.model_validate(asked, strict=True)
    except ValidationError as error:
        raise ParamsError(explained(error.errors(include_url=False)[0], values, shown)) from error


def behind(prompt: Sequence[int], request: Request) -> Request:
    """The same request behind other ids."""
    values = {name: getattr(request, name) for name in Request.model_fields}
    return Request.model_validate(values | {"prompt": tuple(prompt)})


def constraint_in(values: Mapping[str, Any], shown: Callable[[str], str]) -> dict[str, str] | None:
    """The constraint among `values`.

    Raises:
        ParamsError: there are several, or a schema is no JSON.
    """
    given = [name for name in CONSTRAINTS if values.get(name) is not None]
    if not given:
        return None
    if len(given) > 1:
        both = " and ".join(shown(name) for name in given[:2])
        raise ParamsError(f"{both} are two forms of one text; give one")
    [name] = given
    text = values[name]
    if name == "json_schema":
        text = schema_text(text, shown(name))
    if not isinstance(text, str) or not text:
        raise ParamsError(f"{shown(name)}: expected a text, found {found(text)}")
    return {"kind": CONSTRAINTS[name], "text": text}


def schema_text(schema: object, name: str) -> str:
    """A JSON schema as text, whether it came as text or as a value.

    Raises:
        ParamsError: it is no JSON.
    """
    if not isinstance(schema, str):
        return json.dumps(schema, ensure_ascii=False)
    try:
        json.loads(schema)
    except (ValueError, RecursionError) as error:
        raise ParamsError(f"{name}: no JSON: {error}") from error
    return schema


def without_constraint(values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` without the settings that ask for a form."""
    return {name: value for name, value in values.items() if name not in CONSTRAINTS}


def laid_over(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with those of `over` in their place; one form replaces another."""
    formed = any(over.get(name) is not None for name in CONSTRAINTS)
    return {**(without_constraint(values) if formed else values), **over}


def settings_in(request: Request) -> dict[str, Any]:
    """What is set in a request, by the names of `request_of`, as JSON has it.

    USUAL is always told, the rest where it differs from its default.
    """
    told: dict[str, Any] = {}
    for model, names in ((request, OF_REQUEST), (request.sampling, OF_SAMPLING)):
        values = model.model_dump(mode="json", include=set(names))
        for name in names:
            if name in USUAL or getattr(model, name) != type(model).model_fields[name].default:
                told[name] = values[name]
    if request.constraint is not None:
        [name] = [name for name, kind in CONSTRAINTS.items() if kind == request.constraint.kind]
        told[name] = request.constraint.text
    return told


def as_tuple(value: Any) -> Any:
    """A list as a tuple, one text as the only one."""
    return (value,) if isinstance(value, str) else tuple(value) if type(value) is list else value


def by_number(value: Any) -> Any:
    """A mapping with numbers for keys: JSON has texts there."""
    if not isinstance(value, dict):
        return value
    return {int(key) if is_number(key) else key: bias for key, bias in value.items()}


def is_number(key: object) -> bool:
    """Whether a key of JSON is a token's number; one of more digits is none."""
    return isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 19


def explained(problem: Any, values: Mapping[str, Any], shown: Callable[[str], str]) -> str:
    """One problem that pydantic found: which setting, what is expected, what it is."""
    message = problem["msg"].removeprefix("Value error, ")
    place = [str(part) for part in problem["loc"]]
    name = next((part for part in place if part in NAMES), None)
    if name is None and "constraint" in place:
        name = next(key for key in CONSTRAINTS if values.get(key) is not None)
    if name is None:  # what several settings must agree on: the message names them
        word, _, rest = message.partition(" ")
        bare = word.rstrip(":")
        return f"{shown(bare) if bare in NAMES else bare}{word[len(bare) :]} {rest}"
    inner = place[place.index(name) + 1 :] if name in place else []
    where = f" ({excerpt(inner[0])})" if inner and name == "logit_bias" else ""
    if problem["type"] == "value_error":
        return f"{shown(name)}: {message}"
    expected = re.sub("^(Input should be|String should have) ", "", message)
    expected = OTHER_WORDS.get(expected, expected)
    return f"{shown(name)}{where}: {found(problem['input'])}; expected {expected}"


def found(value: object) -> str:
    """A value as a person wrote it, short."""
    if isinstance(value, list | tuple | dict):
        return "an object" if isinstance(value, dict) else "a list"
    return excerpt(json.dumps(value, ensure_ascii=False))
