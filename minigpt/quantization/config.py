"""What the quantize stage may be told. No torch here."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from minigpt.config import Config, Count, Size


class QuantizeConfig(Config):
    """The two packages that the quantize stage writes, and the text it measures them on."""

    int4_group_size: Literal[16, 32, 64, 128] = 32
    """Neighbouring weights of a row that share one scale; must divide every 4-bit row."""
    int8_in_int4: tuple[str, ...] = ("embed", "head")
    """Layers that the 4-bit package keeps in 8 bits: where an error reaches every token."""
    window: Annotated[int, Field(ge=2, le=2**20)] | None = None
    """Tokens the model sees at once while it is measured; null: its context_length."""
    max_bytes: Count = 60_000
    """Test text measured in each source, at most: as much of each document as fits."""
    logit_tokens: Size = 256
    """Tokens of test text on which logits are compared with the fp32 package's."""


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


class Scheme(Config):
    """What model.json records of a quantized package: enough to rebuild its layers."""

    kind: str
    """A word for people: int8, int4."""
    layers: dict[str, LayerScheme]
    """By the layer's name in the model; a layer that is not named keeps its floats."""


class QuantizeParams(Config):
    """The sections that the quantize stage reads."""

    quantize: QuantizeConfig = QuantizeConfig()
