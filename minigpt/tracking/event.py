"""The events of a run as a journal holds them: what each has, checked as it is read."""

from functools import cache
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from minigpt.tracking.address import OWN
from minigpt.tracking.tracker import Event


class _Owner(TypedDict):
    host: str
    pid: Annotated[str, Field(pattern=r"^\d{1,18}$")]
    started: Annotated[str, Field(pattern=r"^\d+(\.\d*)?$")]
    since: str


class _Begin(TypedDict):
    event: Literal["begin"]
    time: int
    name: str
    stage: str | None
    tags: dict[str, str]
    parent: str | None
    owner: _Owner
    sinks: Annotated[list[str], Field(min_length=1)]
    store: NotRequired[str]


class _Params(TypedDict):
    event: Literal["params"]
    time: int
    values: dict[str, Any]


class _Metrics(TypedDict):
    event: Literal["metrics"]
    time: int
    values: dict[str, float]
    step: int


class _Dataset(TypedDict):
    event: Literal["dataset"]
    time: int
    name: str
    path: str
    digest: str
    context: str


class _Artifact(TypedDict):
    event: Literal["artifact"]
    time: int
    path: str
    folder: str | None


class _Tag(TypedDict):
    event: Literal["tag"]
    time: int
    key: str
    value: str


class _Link(TypedDict):
    event: Literal["link"]
    time: int
    stage: str
    output_digest: str


class _Close(TypedDict):
    event: Literal["close"]
    time: int
    status: Literal["FINISHED", "FAILED", "KILLED"]


_AnyEvent = Annotated[
    _Begin | _Params | _Metrics | _Dataset | _Artifact | _Tag | _Link | _Close,
    Field(discriminator="event"),
]


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(_AnyEvent)


def checked(value: Any) -> Event:
    """A line of a journal as an event.

    Raises:
        ValueError: it is none; pydantic's is one.
    """
    event: Event = _adapter().validate_python(value)
    return {"store": OWN, **event} if event["event"] == "begin" else event
