"""What a model is made of. The vocabulary's size is the tokenizer's and is not repeated here."""

import math
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, ValidationInfo, field_validator

from minigpt.config import Config, Size, Small
from minigpt.entries import entries, kind_of
from minigpt.model.position_config import PositionConfig, Sizes
from minigpt.model.positions.rope import RopePosition

POSITIONS: dict[str, type[PositionConfig]] = entries("minigpt.model.positions", kind_of)
"""Kind → its class."""
MOST_BLOCKS = 2**12
"""A model thirty times as deep as any that was published."""
if TYPE_CHECKING:
    AnyPosition: TypeAlias = PositionConfig
else:
    AnyPosition = Annotated[reduce(or_, POSITIONS.values()), Field(discriminator="kind")]


class RmsNorm(Config):
    """Root mean square normalisation with a weight a channel (arXiv:1910.07467)."""

    kind: Literal["rmsnorm"] = "rmsnorm"
    eps: Small = 1e-6
    """Added to the mean square before the root; Qwen3's value."""


class LayerNorm(Config):
    """Layer normalisation with a weight, and `ModelConfig.bias` (arXiv:1607.06450)."""

    kind: Literal["layernorm"] = "layernorm"
    eps: Small = 1e-5
    """Added to the variance before the root; GPT-2's value."""


class SwigluMlp(Config):
    """down(silu(gate(x)) * up(x)) (arXiv:2002.05202)."""

    kind: Literal["swiglu"] = "swiglu"


class GeluMlp(Config):
    """down(gelu(up(x))), tanh form (GPT-2)."""

    kind: Literal["gelu"] = "gelu"


class ModelConfig(Config):
    """Sizes and parts of a GPT. The defaults speak the Qwen3 dialect."""

    n_layer: Annotated[int, Field(gt=0, le=MOST_BLOCKS)] = 4
    """Blocks."""
    n_embd: Size = 192
    """Width of the residual stream."""
    head_dim: Size | None = None
    """Width of one head; null: n_embd / n_head."""
    n_head: Size = 3
    """Query heads."""
    n_kv_head: Size = 1
    """Key and value heads, each shared by n_head / n_kv_head query heads (arXiv:2305.13245)."""
    mlp_dim: Size = 512
    """Width inside the MLP."""
    context_length: Size = 512
    """Most positions the model can see."""
    tied: bool = False
    """Use the embedding table as the output head too."""
    embedding_norm: bool = True
    """Divide the rows of the embedding table by their root mean square: steadier at high rates.
    A package holds the table divided already, so other programs need no such step."""
    qk_norm: bool = True
    """Normalise queries and keys a head, with RMS norms (Qwen3); Llama and GPT-2 do not."""
    bias: bool = False
    """Add biases in attention, MLP and layer norms, as GPT-2 does; the head never has one. They are
    trained as norms are: with Muon not at all unless optimizer.norm_lr_ratio is above 0."""
    norm: Annotated[RmsNorm | LayerNorm, Field(discriminator="kind")] = RmsNorm()
    """Normalisation of the residual stream."""
    position: AnyPosition = RopePosition()
    """How the model knows order."""
    mlp: Annotated[SwigluMlp | GeluMlp, Field(discriminator="kind")] = SwigluMlp()
    """The half of a block that looks at one position at a time."""

    @field_validator("n_head")
    @classmethod
    def _n_head_divides_n_embd(cls, n_head: int, info: ValidationInfo) -> int:
        if info.data.get("head_dim") is None and "n_embd" in info.data:
            refuse_unless_divides(n_head, info.data["n_embd"], "n_embd")
        return n_head

    @field_validator("n_kv_head")
    @classmethod
    def _n_kv_head_divides_n_head(cls, n_kv_head: int, info: ValidationInfo) -> int:
        if "n_head" in info.data:
            refuse_unless_divides(n_kv_head, info.data["n_head"], "n_head")
        return n_kv_head

    @field_validator("embedding_norm")
    @classmethod
    def _tied_table_is_plain(cls, embedding_norm: bool, info: ValidationInfo) -> bool:
        if embedding_norm and info.data.get("tied"):
            raise ValueError("a tied table cannot be normalised; set it to false, or tied to false")
        return embedding_norm

    @field_validator("position")
    @classmethod
    def _position_fits(cls, position: PositionConfig, info: ValidationInfo) -> PositionConfig:
        known = info.data
        if {"n_embd", "n_head", "head_dim", "context_length"} <= known.keys():
            width = known["head_dim"] or known["n_embd"] // known["n_head"]
            position.refuse(Sizes(known["n_embd"], known["n_head"], width, known["context_length"]))
        return position

    @property
    def head_width(self) -> int:
        """Width of one head."""
        return self.head_dim or self.n_embd // self.n_head

    @property
    def sizes(self) -> Sizes:
        """What its positions may depend on."""
        return Sizes(self.n_embd, self.n_head, self.head_width, self.context_length)


def refuse_unless_divides(value: int, whole: int, name: str) -> None:
    """Raise a ValueError that names the nearest values which do divide `whole`."""
    if whole % value:
        roots = range(1, math.isqrt(whole) + 1)
        fitting = {d for root in roots if whole % root == 0 for d in (root, whole // root)}
        below = sorted(d for d in fitting if d < value)[-1:]
        above = sorted(d for d in fitting if d > value)[:1]
        choices = " or ".join(str(d) for d in below + above)
        raise ValueError(f"{value} does not divide {name} ({whole}); try {choices}")
