"""What a release is called and what it must reach. Read by no stage."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from minigpt.config import Config


class GateConfig(Config):
    """Conditions of promotion."""

    must_beat: Literal["uniform", "unigram", "ngram", "xz", "zstd", "ppmd"] = "ngram"
    """The baseline that the base model must lie below on each pretraining source."""
    max_logit_difference: Annotated[float, Field(gt=0)] = 1e-3
    """Greatest difference of an exported model's logits to ours, in fp32."""


class ReleaseConfig(Config):
    """What the registered model is."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][\w.-]*$")] = "minigpt"
    """Its name in the registry: versions are compared within one name only."""


class RegistryParams(Config):
    """The sections of params.yaml that only the registry reads."""

    gate: GateConfig = GateConfig()
    release: ReleaseConfig = ReleaseConfig()
