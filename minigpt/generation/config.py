"""How the next token is chosen."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from minigpt.config import Config, Size

LOWEST = 1e-6
"""Of a temperature that is not 0: logits divided by less overflow."""


class SamplingConfig(Config):
    """Temperature first, then top_k, then top_p of what is left."""

    temperature: Annotated[float, Field(ge=0, le=100)] = 0.8
    """Below 1: likelier words; above 1: bolder; 0: always the likeliest."""
    top_k: Size | None = 50
    """Choose among this many likeliest tokens; null: among all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 0.95
    """Choose among the fewest likeliest tokens that hold this much probability; null: all."""

    @model_validator(mode="after")
    def _logits_can_be_divided(self) -> Self:
        if 0 < self.temperature < LOWEST:
            raise ValueError(
                f"temperature {self.temperature:g} is next to 0; take 0, or {LOWEST:g}"
            )
        return self
