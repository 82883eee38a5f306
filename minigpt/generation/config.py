"""How the next token is chosen."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt

from minigpt.config import Config


class SamplingConfig(Config):
    """Temperature first, then top_k, then top_p of what is left."""

    temperature: NonNegativeFloat = 0.8
    """Below 1: likelier words; above 1: bolder; 0: always the likeliest."""
    top_k: PositiveInt | None = 50
    """Choose among this many likeliest tokens; null: among all."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 0.95
    """Choose among the fewest likeliest tokens that hold this much probability; null: all."""
