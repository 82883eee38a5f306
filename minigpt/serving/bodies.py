"""Bodies of requests: what may stand in them, and what each asks of a model.

The settings are those of generation.request, by their names; what is said of them is said there.
"""

import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, create_model
from pydantic.fields import FieldInfo

from minigpt.config import Config
from minigpt.generation.request import MOST_ALTERNATIVES, Constraint, Request, Sampling
from minigpt.generation.settings import OF_SAMPLING
from minigpt.serving.errors import ApiError
from minigpt.serving.problems import problem

MOST_PROMPTS = 64
"""Of one request."""
Ids = Annotated[list[Annotated[int, Field(ge=0, le=2**31)]], Field(min_length=1)]
Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
Lists = Annotated[list[Ids], Field(min_length=1, max_length=MOST_PROMPTS)]
OF_REQUEST = tuple(
    name for name in Request.model_fields if name not in ("prompt", "sampling", "constraint")
)
OPENAI = {"temperature": 1.0, "top_p": None, "top_k": None, "max_tokens": 16}
"""What OpenAI's API takes where nothing is said."""
UNCHANGING = (
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention", "parallel_tool_calls", "reasoning_effort", "verbosity", "prediction",
)  # fmt: skip
"""Fields of OpenAI's that change no text of ours: read over."""
IN_JSON = {
    "stop_tokens": list[int],
    "logit_bias": dict[
        Annotated[str, Field(pattern=r"^\d{1,10}$")], Annotated[float, Field(ge=-100, le=100)]
    ],
}
"""What JSON has other words for than generation.request."""


class StreamOptions(Config):
    """How a stream ends."""

    model_config = ConfigDict(extra="ignore")
    include_usage: bool | None = None
    """Whether the last event tells the tokens of all texts."""


class TextPart(Config):
    """A part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(Config):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    """The text; parts are read one behind the other."""
    name: str | None = None
    """Whose turn it is: read over."""
    refusal: None = None
    audio: None = None
    tool_calls: None = None
    function_call: None = None
    annotations: Annotated[list[Any], Field(max_length=0)] | None = None

    def plain(self) -> dict[str, str]:
        """As a template reads it."""
        content = self.content or ""
        text = content if isinstance(content, str) else "".join(part.text for part in content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class JsonSchema(Config):
    """The form of an answer."""

    name: str = ""
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool | None = None


class ResponseFormat(Config):
    """What an answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


def setting(name: str) -> FieldInfo:
    """The field of generation.request that has this name."""
    return (Sampling.model_fields | Request.model_fields)[name]


def as_it_is(names: Iterable[str]) -> dict[str, Any]:
    """Settings with their own defaults."""
    fields = {name: setting(name) for name in names}
    return {
        name: (
            type_of(name),
            Field(
                default=list(field.default) if field.default == () else field.default,
                description=field.description,
            ),
        )
        for name, field in fields.items()
    }


def or_null(names: Iterable[str]) -> dict[str, Any]:
    """Settings that may be null, which says nothing, as OpenAI's may."""
    return {
        name: (type_of(name) | None, Field(default=None, description=setting(name).description))
        for name in names
    }


def type_of(name: str) -> Any:
    """A setting's type with its bounds, as JSON holds it: lists, and names as keys."""
    field = setting(name)
    bounds = tuple(field.metadata)
    kind = IN_JSON.get(name, field.annotation)
    return Annotated[(kind, *bounds)] if bounds else kind


def optional(kind: Any, description: str) -> Any:
    """A field that may be left out or null."""
    return (kind | None, Field(default=None, description=description))


MODEL = optional(str, "Which model: an id of /v1/models or the ref that is served.")
STREAM = optional(bool, "Whether the text comes while it is written, as server-sent events.")
FORM = Annotated[str, Field(min_length=1, max_length=100_000)]
FORMS = {
    "regex": optional(FORM, "A regular expression that the text must match."),
    "grammar": optional(FORM, "A grammar in llguidance's dialect of Lark that it must follow."),
    "json_schema": optional(dict[str, Any], "A JSON schema that it must meet."),
}
STOP: Any = (
    str | Annotated[list[str], Field(max_length=16)] | None,
    Field(default=None, description="The text ends before the first of these."),
)
OURS = ("top_k", "min_p", "typical_p", "repetition_penalty", "stop_tokens", "ignore_end", "beams",
        "timeout")  # fmt: skip
SHARED = (
    "temperature",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "seed",
    "n",
)

MODALITIES: Any = list[Literal["text"]]
MESSAGES: Any = (
    Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)],
    Field(description="The conversation, oldest turn first."),
)

GenerateBody = create_model(
    "GenerateBody",
    __base__=Config,
    __doc__="One prompt, and how it is to be continued.",
    prompt=(str | Ids, Field(description="Text to continue, or its token ids.")),
    model=MODEL,
    stream=STREAM,
    **as_it_is((*OF_SAMPLING, *(name for name in OF_REQUEST if name not in ("seed", "stop")))),
    **or_null(("seed",)),
    stop=STOP,
    **FORMS,
)
CompletionBody = create_model(
    "CompletionBody",
    __base__=Config,
    __doc__="OpenAI's completions; ours beside it.",
    model=MODEL,
    prompt=(
        str | Texts | Ids | Lists | None,
        Field(default=None, description="Text to continue, its ids, or a list of either."),
    ),
    stream=STREAM,
    stream_options=optional(StreamOptions, "How the stream ends."),
    echo=optional(bool, "Whether the prompt stands before the text."),
    logprobs=optional(
        Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)], "Alternatives listed beside each token."
    ),
    suffix=optional(Annotated[str, Field(max_length=0)], "Not possible here."),
    **or_null((*SHARED, "max_tokens", "best_of", *OURS)),
    stop=STOP,
    **FORMS,
)
ChatBody = create_model(
    "ChatBody",
    __base__=Config,
    __doc__="OpenAI's chat completions; ours beside it.",
    model=MODEL,
    messages=MESSAGES,
    stream=STREAM,
    stream_options=optional(StreamOptions, "How the stream ends."),
    logprobs=optional(bool, "Whether each token is listed with its log-probability."),
    top_logprobs=optional(
        Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)], "Alternatives listed beside each."
    ),
    max_completion_tokens=optional(type_of("max_tokens"), "New tokens of each choice at most."),
    response_format=optional(ResponseFormat, "What form the answer has."),
    modalities=optional(MODALITIES, "Text is all there is."),
    **or_null((*SHARED, "max_tokens", *OURS)),
    stop=STOP,
    **{name: field for name, field in FORMS.items() if name != "json_schema"},
)


@dataclass(frozen=True)
class Ask:
    """What a body asks for, checked as far as that can be without the model."""

    model: str | None
    stream: bool
    settings: dict[str, Any]
    """Of a `Request`, but for its prompt, as JSON holds them."""
    seed: int
    """The one that was given, or one that was drawn."""
    n: int

    @property
    def logprobs(self) -> bool:
        """Whether tokens are listed."""
        return self.settings["logprobs"] is not None


def ask_of(body: Any, settings: Mapping[str, Any], constraint: Constraint | None) -> Ask:
    """The request for a worker; `settings` by the names of Sampling and Request.

    Raises:
        ApiError: they do not fit together.
    """
    seed = settings.get("seed")
    seed = secrets.randbelow(2**32) if seed is None else seed
    unbounded = "max_tokens" in settings and settings["max_tokens"] is None
    rest = {k: v for k, v in settings.items() if k in OF_REQUEST and k != "seed"}
    if unbounded:
        del rest["max_tokens"]
    try:
        sampling = Sampling(**{k: v for k, v in settings.items() if k in OF_SAMPLING})
        request = Request(prompt=(0,), sampling=sampling, seed=seed, constraint=constraint, **rest)
    except ValidationError as error:
        raise problem(error) from error
    plain = request.model_dump(mode="json", exclude={"prompt"})
    if unbounded:
        plain["max_tokens"] = None
    return Ask(body.model, bool(body.stream), plain, seed, request.n)


def stops(value: str | list[str] | None) -> tuple[str, ...]:
    """Stop strings as a request holds them."""
    return (value,) if isinstance(value, str) else tuple(value or ())


def form_of(body: Any) -> Constraint | None:
    """The form that the text must have.

    Raises:
        ApiError: two are named, or it is empty.
    """
    forms: list[tuple[Literal["json", "regex", "lark"], str, str]] = []
    if body.regex is not None:
        forms.append(("regex", "regex", body.regex))
    if body.grammar is not None:
        forms.append(("lark", "grammar", body.grammar))
    if (schema := getattr(body, "json_schema", None)) is not None:
        forms.append(("json", "json_schema", json.dumps(schema)))
    wanted = getattr(body, "response_format", None)
    if wanted is not None and wanted.type == "json_object":
        forms.append(("json", "response_format", '{"type": "object"}'))
    elif wanted is not None and wanted.type == "json_schema":
        if wanted.json_schema is None:
            raise ApiError(
                400, "response_format.json_schema: give the schema", param="response_format"
            )
        forms.append(("json", "response_format", json.dumps(wanted.json_schema.schema_)))
    if not forms:
        return None
    if len(forms) > 1:
        names = " and ".join(name for _, name, _ in forms)
        raise ApiError(400, f"{names}: a text has one form; give one of them", param=forms[1][1])
    kind, name, text = forms[0]
    try:
        return Constraint(kind=kind, text=text)
    except ValidationError as error:
        raise problem(error, name) from error
