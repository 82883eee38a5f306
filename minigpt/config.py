"""The base of every params class: frozen, no unknown keys, field docstrings as descriptions."""

from typing import Annotated, Any, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
"""As large as torch takes it."""


class Config(BaseModel):
    """A frozen set of values. Validators refuse, never repair; derived numbers are properties."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    def replace(self, **changes: Any) -> Self:
        """A validated copy with `changes`; an unknown name or a bad value raises."""
        return type(self).model_validate({**self.model_dump(), **changes})

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """As pydantic's, but validated: `update` goes through `replace`."""
        del deep  # a frozen tree needs no deep copy
        return self.replace(**(update or {}))
