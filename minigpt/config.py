"""The base of every params class: frozen, no unknown keys, field docstrings as descriptions."""

from typing import Annotated, Any, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
"""As large as torch takes it."""
Count: TypeAlias = Annotated[int, Field(gt=0, le=10**12)]
"""Of bytes, documents or tokens: a terabyte is more text than one machine reads."""
AnyCount: TypeAlias = Annotated[int, Field(ge=0, le=10**12)]
"""The same, or none."""
Size: TypeAlias = Annotated[int, Field(gt=0, le=2**20)]
"""Of a part of a model, or tokens it sees at once: more is a slip of the keyboard."""
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
"""A part of a whole."""
Small: TypeAlias = Annotated[float, Field(ge=1e-15, le=1)]
"""What is added so that nothing is divided by 0: fp32 keeps it beside the squares of gradients."""


class Config(BaseModel):
    """A frozen set of values. Validators refuse, never repair; derived numbers are properties."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, values: Any) -> Any:
        """Pydantic would take true for 1 where a number stands, in a list of numbers too."""
        given = values if isinstance(values, dict) else {}
        for name, field in cls.model_fields.items():
            value = given.get(field.alias or name)
            items = value if isinstance(value, list | tuple) else [value]
            wrong = next((item for item in items if isinstance(item, bool)), None)
            if wrong is not None and bool not in (field.annotation, *get_args(field.annotation)):
                raise ValueError(f"{name}: {str(wrong).lower()} is no number; quote a word")
        return values

    def replace(self, **changes: Any) -> Self:
        """A validated copy with `changes`; an unknown name or a bad value raises."""
        return type(self).model_validate({**self.model_dump(), **changes})

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """As pydantic's, but validated: `update` goes through `replace`."""
        del deep  # a frozen tree needs no deep copy
        return self.replace(**(update or {}))
