"""The base of every params class: frozen, no unknown keys, field docstrings as descriptions."""

from typing import Annotated, Any, Self, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

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

    @model_validator(mode="before")
    @classmethod
    def _yes_is_no_number(cls, values: Any) -> Any:
        """YAML's `yes` and `on` are true, which pydantic would take for 1 where a number stands."""
        given = values if isinstance(values, dict) else {}
        for name, field in cls.model_fields.items():
            value = given.get(field.alias or name)
            if not isinstance(value, bool):
                continue
            if bool not in (field.annotation, *get_args(field.annotation)):
                found = str(value).lower()
                raise ValueError(f"{name}: {found} (yes, no, on, off) is no value; quote a word")
        return values

    def replace(self, **changes: Any) -> Self:
        """A validated copy with `changes`; an unknown name or a bad value raises."""
        return type(self).model_validate({**self.model_dump(), **changes})

    def model_copy(self, *, update: Any = None, deep: bool = False) -> Self:
        """As pydantic's, but validated: `update` goes through `replace`."""
        del deep  # a frozen tree needs no deep copy
        return self.replace(**(update or {}))
