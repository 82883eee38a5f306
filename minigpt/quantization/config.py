"""How a quantized model is held. No torch here."""

from typing import Literal, Self

from pydantic import model_validator

from minigpt.config import Config, Size


class LayerScheme(Config):
    """How one layer is held."""

    bits: Literal[4, 8]
    """8: one scale a row. 4: one scale a group of `group_size` neighbours in a row."""
    group_size: Size | None = None
    """Only with 4 bits."""

    @model_validator(mode="after")
    def _groups_are_for_4_bits(self) -> Self:
        if (self.bits == 4) != (self.group_size is not None):
            raise ValueError("group_size is for 4 bits, and 4 bits need it")
        return self

    def bytes(self, rows: int, columns: int) -> int:
        """What codes and scales of a matrix take."""
        scales = rows * (columns // self.group_size if self.group_size else 1)
        return rows * columns * self.bits // 8 + 2 * scales


class Scheme(Config):
    """What model.json records of a quantized package: enough to rebuild its layers."""

    kind: str
    """A word for people: int8, int4."""
    layers: dict[str, LayerScheme]
    """By the layer's name in the model; a layer that is not named keeps its floats."""
