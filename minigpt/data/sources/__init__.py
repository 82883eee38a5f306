"""The kinds of source: every module in this folder holds one class, found by itself.

A new kind is a new module with one subclass of `BaseSource`; CONTRIBUTING says how.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from minigpt.data.source import BaseSource


def _classes() -> Iterator[type[BaseSource]]:
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{__name__}.{found.name}")
        for value in vars(module).values():
            own = inspect.isclass(value) and value.__module__ == module.__name__
            if own and issubclass(value, BaseSource):
                yield value


SOURCES: dict[str, type[BaseSource]] = {
    str(source.model_fields["kind"].default): source for source in _classes()
}
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
