"""What pydantic found wrong with params.yaml, in lines for people: file, key, what was expected."""

import difflib
import re
from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from minigpt.log import excerpt

MOST_LINES = 10
LONGEST = 400
"""Characters of a line; what stands in the file may be of any length."""
PASSWORD = re.compile(r"(?<=://)[^\s/@]*@")
"""What an address may have in front of its host."""
SECTION_EXPECTED = ("model_type", "model_attributes_type", "dict_type")


def explain(error: ValidationError, kind: type[BaseModel], file: str) -> list[str]:
    """One line a problem, ten at most: file, key, what is wrong, what was meant."""
    found = error.errors(include_url=False)
    told = found if len(found) <= MOST_LINES else found[: MOST_LINES - 1]
    lines = [f"{file}: {PASSWORD.sub('…@', problem_line(kind, problem))}" for problem in told]
    lines, rest = [excerpt(line, LONGEST) for line in lines], len(found) - len(told)
    return [*lines, f"{file}: and {rest:,} more problems"] if rest else lines


def problem_line(kind: Any, problem: Any) -> str:
    """One problem: the key as the file has it, and what is wrong."""
    names, at = place(kind, problem["loc"])
    key = ".".join(shown(name) or '""' for name in names)
    value, models = problem["input"], models_of(at)
    match problem["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key{meant(names[-1], place(kind, problem['loc'][:-1])[1])}"
        case "union_tag_not_found":
            return f"{key}: needs a kind: {', '.join(kind_of(model) for model in models)}"
        case "union_tag_invalid":
            kinds = [kind_of(model) for model in models]
            tag = value.get("kind")
            word = shown(repr(tag)) if isinstance(tag, str | int | float) else "no word"
            hint = near(tag, kinds) if isinstance(tag, str) else ""
            return f"{key}.kind: there is no {word}{hint}; there are: {', '.join(kinds)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in SECTION_EXPECTED:
        message = "expected a section, keys with values"
    plain = value is None or isinstance(value, str | int | float)
    if isinstance(value, str):
        found = shown(repr(value))
    else:
        found = "null" if value is None else excerpt(str(value).lower())
    # What several sections must agree on has no place of its own: its message names one.
    return ": ".join(filter(None, (key, f"{message} (found {found})" if plain else message)))


def shown(text: str) -> str:
    """The beginning of what stands in the file, without the passwords of addresses."""
    return excerpt(PASSWORD.sub("…@", text))


def meant(word: str, at: Any) -> str:
    """The key at this place that an unknown one may stand for, also a level deeper."""
    keys = fields_of(at)
    if hint := near(word, keys):
        return hint
    deeper = [key for key, inner in keys.items() if word in fields_of(inner)]
    return f"; did you mean {deeper[0]}.{word}?" if deeper else ""


def near(word: str, words: Iterable[str]) -> str:
    """The word that a slip of the keyboard made another of, if there is one."""
    found = difflib.get_close_matches(word[:100], list(words), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def place(kind: Any, location: Sequence[str | int]) -> tuple[list[str], Any]:
    """The keys that lead to a problem, and the type there; None behind an unknown key.

    pydantic's location also names the kind of every union on the way, which is no key of the file.
    """
    names: list[str] = []
    for part in location:
        models = models_of(kind)
        if len(models) > 1:
            kind = next((model for model in models if kind_of(model) == part), None)
            continue
        if part != "[key]":
            names.append(str(part))
        kind = behind(kind, str(part))
    return names, kind


def behind(kind: Any, key: str) -> Any:
    """The type of what stands under a key, or in a list; None where that is not known."""
    if models_of(kind):
        return fields_of(kind).get(key)
    # A list, or names with values.
    return next(reversed([item for item in get_args(bare(kind)) if item is not ...]), None)


def known_keys(kind: Any, keys: Sequence[str]) -> list[str]:
    """The keys that may stand behind these, whatever kind the unions on the way have."""
    for key in keys:
        kind = behind(kind, key)
    return sorted(fields_of(kind))


def bare(kind: Any) -> Any:
    """An annotation without what `Annotated` adds, and without None."""
    if get_origin(kind) is Annotated:
        return bare(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        others = [argument for argument in get_args(kind) if argument is not type(None)]
        return bare(others[0]) if len(others) == 1 else kind
    return kind


def models_of(kind: Any) -> list[type[BaseModel]]:
    """The models that an annotation may stand for; several are told apart by their kind."""
    kind = bare(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    if get_origin(kind) in (Union, UnionType):
        return [model for argument in get_args(kind) for model in models_of(argument)]
    return []


def kind_of(model: type[BaseModel]) -> str:
    """What `kind` a model of a union has."""
    return str(model.model_fields["kind"].default) if "kind" in model.model_fields else ""


def fields_of(kind: Any) -> dict[str, Any]:
    """Key → annotation, over every model that the annotation `kind` may stand for."""
    return {
        field.alias or name: field.annotation
        for model in models_of(kind)
        for name, field in model.model_fields.items()
    }
