"""What the quantize stage may be told. No torch here."""

from typing import Annotated, Literal

from pydantic import Field

from minigpt.config import Config, Count, Seed, Size
from minigpt.training.config import AdamW, Dtype, Epochs, Muon, Rate, Steps, TrainConfig


class AwareTrainingConfig(TrainConfig):
    """Training with the rounding in place, on the training text of all sources."""

    duration: Annotated[Steps | Epochs, Field(discriminator="kind")] = Steps(max_steps=200)
    """How long it trains."""
    lr: Rate = 0.0002
    """Peak rate: about 0.02 for muon, 0.002 for adamw."""
    optimizer: Annotated[Muon | AdamW, Field(discriminator="kind")] = AdamW(weight_decay=0.0)
    """What turns gradients into steps."""
    dtype: Dtype = "fp32"
    """Arithmetic of forward and backward; master weights and optimizer are always fp32."""
    keep: Literal["last", "best"] = "best"
    """Which weights are kept: the last, or those that validated best."""


class QuantizeConfig(Config):
    """The two packages that the quantize stage writes, and the text it measures them on."""

    calibration_tokens: Annotated[int, Field(gt=0, le=2**24)] = 16_384
    """Training text that rounding is fitted to (GPTQ), in equal parts of all sources."""
    int4_group_size: Literal[16, 32, 64, 128] = 32
    """Neighbouring weights of a row that share one scale; must divide every 4-bit row."""
    int8_in_int4: tuple[str, ...] | None = None
    """Layers that the 4-bit package keeps in 8 bits; null: embed and head, the one where 4 bits
    cost most first, as far as int4_share allows."""
    int4_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Largest size of the 4-bit package that this may lead to, 1 being that of fp32."""
    finetune: AwareTrainingConfig | None = None
    """Fine-tuning of the 4-bit package with its rounding in place; null: none."""
    window: Annotated[int, Field(ge=2, le=2**20)] | None = None
    """Tokens the model sees at once while it is measured; null: its context_length."""
    max_bytes: Count = 60_000
    """Test text measured in each source, at most: as much of each document as fits."""
    logit_tokens: Size = 256
    """Tokens of test text on which logits and layers are compared with the fp32 package's."""


class QuantizeParams(Config):
    """The sections that the quantize stage reads."""

    seed: Seed = 1337
    """Start of every random sequence: first weights, order of the data, samples."""
    quantize: QuantizeConfig = QuantizeConfig()
