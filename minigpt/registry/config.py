"""What a release is called and what it must reach. Read by no stage."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from minigpt.config import Config, Share

Bits = Annotated[float, Field(ge=0, le=8)]
"""Per byte; who knows nothing needs 8, so more would switch a condition off."""
Figure = Annotated[float, Field(ge=1e-3, le=1e6)]
"""Megabytes or milliseconds: less is reached by no model, more by every one."""


LEASES = "lock."
"""How the names begin that a lease on a registered name has in the store (see mutex)."""


class QuantizationLossConfig(Config):
    """How many more bits per byte a rounded model may need, as a share: 0.01 is one per cent."""

    int8: Share = 0.003
    """The package in 8 bits."""
    int4: Share = 0.015
    """The package in 4 bits."""
    onnx_int8: Share = 0.005
    """The ONNX export in 8 bits."""
    onnx_int4: Share = 0.02
    """The ONNX export in 4 bits."""


class GateConfig(Config):
    """Conditions of promotion."""

    must_beat: Literal["uniform", "unigram", "ngram", "xz", "zstd", "ppmd"] = "ngram"
    """The baseline that the base model must lie below on each pretraining source."""
    max_logit_difference: Annotated[float, Field(ge=1e-12, le=1)] = 1e-3
    """Greatest difference of an exported model's logits to ours, in fp32."""
    min_passages: Annotated[int, Field(gt=0, le=10**6)] = 200
    """Passages of each source, at least, that challenger and champion are compared on."""
    max_worse: Bits = 0.0
    """Bits per byte by which a version may be worse than any champion was, on a fine-tuning source;
    where nothing is fine-tuned, on a pretraining source."""
    max_forgetting: Bits = 0.05
    """The same on a pretraining source after fine-tuning: how much more it may have forgotten."""
    max_quantization_loss: QuantizationLossConfig = QuantizationLossConfig()
    """What rounding may cost, on the source where it costs most."""
    max_megabytes: Figure | None = None
    """Largest size of the model's weights, in 10^6 bytes; null: not asked."""
    max_ms_per_token: Figure | None = None
    """Longest time of one token on the machine that promotes, batch 1; null: not asked."""


class ReleaseConfig(Config):
    """What the registered model is."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][\w.-]*$", max_length=200)] = (
        "minigpt"
    )
    """Its name in the registry: versions are compared within one name only."""

    @field_validator("name")
    @classmethod
    def _no_lease(cls, value: str) -> str:
        if value.lower().startswith(LEASES):
            raise ValueError(f"{LEASES}… is kept for what holds a name while it is changed")
        return value


class RegistryParams(Config):
    """The sections of params.yaml that only the registry reads."""

    gate: GateConfig = GateConfig()
    release: ReleaseConfig = ReleaseConfig()
