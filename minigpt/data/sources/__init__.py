"""One module a kind of source, whose `ENTRY` is a BaseSource. To add one: CONTRIBUTING.md."""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from minigpt.data.source import BaseSource
from minigpt.entries import entries, kind_of

SOURCES: dict[str, type[BaseSource]] = entries("minigpt.data.sources", kind_of)
"""Kind → its class."""

if TYPE_CHECKING:
    Source: TypeAlias = BaseSource
else:
    Source = Annotated[reduce(or_, SOURCES.values()), Field(discriminator="kind")]
    """Any kind, told apart by its key `kind`."""

_ANY: TypeAdapter[BaseSource] = TypeAdapter(Source)


def source_of(values: Any) -> BaseSource | None:
    """The source that `values` state; None where they are not of this minigpt (older or later)."""
    try:
        return _ANY.validate_python(values)
    except ValidationError:
        return None


def on_hub(kind: str) -> bool:
    """Whether the place of such a source begins with a dataset's name on the Hugging Face hub."""
    return kind in SOURCES and SOURCES[kind].on_hub


def is_local(kind: str) -> bool:
    """Whether sources of this kind lie in the project; an unknown kind does not."""
    return kind in SOURCES and SOURCES[kind].local
