"""What the evaluate stage may be told. No torch here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from minigpt.config import Config, Count, Seed, Size
from minigpt.generation.config import SamplingConfig

Window = Annotated[int, Field(ge=2, le=2**20)]
"""A token that is judged and at least one before it; no model sees more."""
Batch = Annotated[int, Field(gt=0, le=2**12)]
"""More only takes memory: a model is busy long before."""
Discount = Annotated[float, Field(ge=0.001, le=0.999)]
"""Nearer to 0 or 1 some bytes would cost no bits, or no end of them."""
MODELS = ("base", "finetuned")
"""Those that are judged, as metrics name them; the second where something is fine-tuned."""
SAMPLES = "samples.json"
"""What they wrote, in the folder of the evaluate stage."""
SETTINGS = "settings.json"
"""How they were measured, there too."""
MEASURED_BY = ("window", "stride", "batch", "passage_bytes")
"""What of the section evaluate a figure depends on."""


class WindowConfig(Config):
    """How a text longer than the model's context is judged: overlapping windows."""

    length: Window
    """Tokens the model sees at once; at most its context_length."""
    stride: Size
    """Tokens a window moves on; each is predicted with at least length - stride before it."""
    batch: Batch = 4
    """Windows in one forward pass."""

    @model_validator(mode="after")
    def _windows_leave_no_gap(self) -> Self:
        if self.stride > self.length:
            raise ValueError(f"a stride of {self.stride} skips tokens; at most {self.length}")
        return self


class NgramConfig(Config):
    """The interpolated byte n-gram."""

    max_order: Annotated[int, Field(ge=1, le=8)] = 8
    """Longest n-gram in bytes; the order used is the best one on the validation split."""
    discount: Discount = 0.9
    """Taken off every count; best of 0.75, 0.8, 0.9 on Shakespeare's validation plays."""


XzMegabytes = Annotated[int, Field(gt=0, le=1536)]
"""xz has no larger dictionary."""


class XzConfig(Config):
    """xz -e: LZMA2 with its slowest match finder settings."""

    preset: Annotated[int, Field(ge=0, le=9)] = 9
    """0 (fast) to 9 (small)."""
    dict_mb: XzMegabytes = 64
    """Dictionary in MiB: how far back a match may lie."""


class ZstdConfig(Config):
    """zstd with long windows."""

    level: Annotated[int, Field(ge=1, le=22)] = 22
    """1 (fast) to 22 (small)."""
    window_log: Annotated[int, Field(ge=10, le=31)] = 27
    """log2 of the bytes that a match may lie back."""


class PpmdConfig(Config):
    """PPMd variant I (as in zip), the strongest classical compressor of text here."""

    order: Annotated[int, Field(ge=2, le=64)] = 8
    """Longest context in bytes."""
    memory_mb: Annotated[int, Field(ge=1, le=2047)] = 256
    """Memory of its model in MiB."""


class SamplesConfig(Config):
    """Text that both models write at fixed seeds."""

    prompts: tuple[str, ...] = ("My fellow citizens", "ROMEO.\n")
    """Each model continues each of them."""
    max_tokens: Annotated[int, Field(ge=0, le=100_000)] = 120
    """Tokens written after a prompt."""
    sampling: SamplingConfig = SamplingConfig()
    """How each token is chosen."""


class EvaluateConfig(Config):
    """How base and fine-tuned model are judged, and what stands beside them."""

    window: Window | None = None
    """Tokens the model sees at once; null: its context_length."""
    stride: Size | None = None
    """Tokens a window moves on, at most all of it; null: half of it."""
    batch: Batch = 4
    """Windows in one forward pass (it changes a figure's last digits only)."""
    passage_bytes: Count = 1000
    """Wanted length of a passage: it ends at the line end nearest to that."""
    ngram: NgramConfig = NgramConfig()
    xz: XzConfig = XzConfig()
    zstd: ZstdConfig = ZstdConfig()
    ppmd: PpmdConfig = PpmdConfig()
    samples: SamplesConfig = SamplesConfig()


class EvaluateParams(Config):
    """The sections that the evaluate stage reads."""

    seed: Seed = 1337
    """Start of every random sequence: first weights, order of the data, samples."""
    evaluate: EvaluateConfig = EvaluateConfig()
