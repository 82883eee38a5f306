"""What the export stage may be told. No torch here."""

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from minigpt.config import Config, Count, Size
from minigpt.entries import names

LAST_OPSET = 25
"""The last that torch's exporter and onnxruntime both know."""
if TYPE_CHECKING:
    Format: TypeAlias = str
else:
    Format = Literal[names("minigpt.export.formats")]
    """Any of the formats, by its module's name; importing the modules would import torch."""


class ExportConfig(Config):
    """Formats, and how near to our own logits they must come."""

    formats: tuple[Format, ...] = ("hf", "onnx", "gguf")
    """What to write; a format that has no words for the model is refused, so leave it out here."""
    opset: Annotated[int, Field(ge=23, le=LAST_OPSET)] = 23
    """ONNX operator set; 23 is the first with Attention and RMSNormalization."""
    tolerance: Annotated[float, Field(ge=1e-12, le=1)] = 1e-4
    """Greatest difference of a logit to ours in fp32: all at once, from the cache, in a batch."""
    rounding_tolerance: Annotated[float, Field(ge=1e-12, le=1)] = 0.2
    """The same for a model that rounds, as a share of all logits (2-norms); 4 bits cost 0.04."""
    parity_tokens: Annotated[int, Field(ge=2, le=2**20)] = 512
    """Tokens of test text on which logits are compared, at most the context's length."""
    cached_steps: Size = 32
    """The last of them that are fed one by one, from the cache."""
    written_tokens: Size = 64
    """The likeliest tokens that each model writes behind four prompts, to be compared with ours."""
    window: Annotated[int, Field(ge=2, le=2**20)] | None = None
    """Tokens that a model that rounds sees at once while it is measured; null: context_length."""
    max_bytes: Count = 30_000
    """Test text it is measured on in each source, at most: as much of each document as fits."""


class ExportParams(Config):
    """The sections that the export stage reads."""

    export: ExportConfig = ExportConfig()
