"""How a model is trained. Machine settings (threads, micro-batch, checkpoints) are elsewhere."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from minigpt.config import Config, Seed, Share, Size, Small
from minigpt.model.config import MOST_BLOCKS, ModelConfig

StepCount = Annotated[int, Field(gt=0, le=10**7)]
"""Of the optimizer: a hundred times as many as a model of this size needs."""
AnyStepCount = Annotated[int, Field(ge=0, le=10**7)]
"""The same, or none."""
Rate = Annotated[float, Field(ge=1e-9, le=10)]
"""Below, fp32 weights do not move; above, nothing learns."""
Ratio = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Of two rates."""
Mean = Annotated[float, Field(ge=0, lt=1)]
"""Share that a running mean keeps of itself; at 1 nothing new would enter it."""
Decay = Annotated[float, Field(ge=0, le=100)]
"""Of weights, times lr a step; what that may come to is checked with lr."""
Dtype = Literal["bf16", "fp32", "fp16"]


class Muon(Config):
    """Orthogonalised momentum for the blocks' matrices (Jordan 2024), Adam for the rest.

    Five Polar Express iterations (arXiv:2505.16932) in bf16; the rate of a matrix grows with
    sqrt(max(1, rows / columns)).
    """

    kind: Literal["muon"] = "muon"
    momentum: Mean = 0.95
    """Nesterov momentum after its warm-up from 0.85."""
    momentum_warmup_steps: AnyStepCount = 200
    """Steps over which the momentum rises from 0.85."""
    weight_decay: Decay = 0.1
    """Decoupled decay of the blocks' matrices."""
    embedding_lr_ratio: Ratio = 10.0
    """Adam's rate for the embedding table, as a multiple of lr."""
    head_lr_ratio: Ratio = 0.4
    """Adam's rate for the output head, as a multiple of lr."""
    norm_lr_ratio: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Adam's rate for norm weights and other vectors, as a multiple of lr; 0 freezes them."""


class AdamW(Config):
    """Adam with decoupled decay of everything that is a matrix (arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    beta1: Mean = 0.9
    """Decay of the mean of gradients."""
    beta2: Mean = 0.95
    """Decay of the mean of squared gradients."""
    eps: Small = 1e-8
    """Added to the root of the mean square."""
    weight_decay: Decay = 0.1
    """Decoupled decay of matrices; embedding and norms have none."""


class Schedule(Config):
    """What every schedule has."""

    warmup_steps: AnyStepCount = 20
    """Steps of linear warm-up."""
    min_lr_ratio: Share = 0.0
    """Where the rate ends, as a fraction of its peak."""


class CosineSchedule(Schedule):
    """Half a cosine from the peak to the floor (arXiv:1608.03983)."""

    kind: Literal["cosine"] = "cosine"


class LinearSchedule(Schedule):
    """A straight line from the peak to the floor."""

    kind: Literal["linear"] = "linear"


class StepSchedule(Schedule):
    """The rate drops by a factor at given shares of the training."""

    kind: Literal["step"] = "step"
    factor: Share = 0.1
    """What the rate is multiplied by at each drop; never below the floor."""
    drops: tuple[Share, ...] = (0.6, 0.85)
    """Shares of the training at which it drops."""


class WsdSchedule(Schedule):
    """Warm-up, a stable stretch at the peak, a straight line to the floor (arXiv:2404.06395)."""

    kind: Literal["wsd"] = "wsd"
    decay_share: Share = 0.6
    """The last share of the training, over which the rate falls."""


class Phase(Config):
    """A stretch of training at one sequence length: short first is faster and as good."""

    share: Annotated[float, Field(gt=0, le=1)]
    """Share of the steps."""
    divisor: Size = 1
    """Length of a sequence: the model's context_length divided by this."""


GROWING = (
    Phase(share=0.4, divisor=4),
    Phase(share=0.3, divisor=2),
    Phase(share=0.3, divisor=1),
)


class Steps(Config):
    """So many optimizer steps, whatever the amount of text."""

    kind: Literal["steps"] = "steps"
    max_steps: StepCount = 2300
    """Optimizer steps."""


class Epochs(Config):
    """So many passes over the text: a small one is not learned by heart (arXiv:2305.16264)."""

    kind: Literal["epochs"] = "epochs"
    epochs: Annotated[float, Field(gt=0, le=1000)] = 4.0
    """Passes over the training text."""
    max_steps: StepCount | None = 700
    """Optimizer steps at most, where that many passes would take too long; null: no limit."""


class TrainConfig(Config):
    """One training run, whatever the data and the first weights."""

    duration: Annotated[Steps | Epochs, Field(discriminator="kind")]
    """How long it trains."""
    tokens_per_step: Annotated[int, Field(gt=0, le=2**27)] = 2048
    """Target tokens of one optimizer step, over all devices."""
    lr: Rate
    """Peak rate: about 0.02 for muon, 0.002 for adamw."""
    optimizer: Annotated[Muon | AdamW, Field(discriminator="kind")] = Muon()
    """What turns gradients into steps."""
    schedule: Annotated[
        CosineSchedule | LinearSchedule | StepSchedule | WsdSchedule, Field(discriminator="kind")
    ] = WsdSchedule()
    """The rate over the training, as a multiple of lr."""
    phases: tuple[Phase, ...] = (Phase(share=1),)
    """Sequence lengths, in order; the shares add up to 1."""
    dtype: Dtype = "bf16"
    """Arithmetic of forward and backward; master weights and optimizer are always fp32."""
    grad_clip: Annotated[float, Field(ge=1e-6, le=1e6)] | None = None
    """Largest norm of all gradients together; null: no clipping."""
    validations: Annotated[int, Field(ge=10, le=1000)] = 10
    """Validations, evenly spread, the last one at the end; one more before the first step."""
    keep: Literal["last", "best"]
    """Which weights are kept: the last, or those that validated best."""
    patience: Annotated[int, Field(gt=0, le=1000)] | None = None
    """Validations in a row without a better one after which the training ends; null: never."""

    @model_validator(mode="after")
    def _decay_leaves_something(self) -> Self:
        decay = self.optimizer.weight_decay
        if self.lr * decay >= 1:
            raise ValueError(
                f"optimizer.weight_decay: {decay:g} times lr ({self.lr:g}) leaves nothing of a "
                f"weight after one step; take less than {1 / self.lr:g}"
            )
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = math.fsum(phase.share for phase in self.phases)
        if not math.isclose(total, 1, abs_tol=1e-9):
            raise ValueError(f"the shares of phases add up to {total:g}, not to 1")
        return self

    def longest(self, context_length: int) -> int:
        """Tokens of the longest sequence; a split must hold one more, its last target."""
        return max(context_length // phase.divisor for phase in self.phases)

    @property
    def new_tokens_per_step(self) -> float:
        """Target tokens of a step that come from the text the training is for."""
        return self.tokens_per_step

    def steps(self, tokens: int) -> int:
        """Optimizer steps of the whole training on a text of `tokens`."""
        duration = self.duration
        if isinstance(duration, Steps):
            return duration.max_steps
        steps = math.ceil(duration.epochs * tokens / self.new_tokens_per_step)
        return steps if duration.max_steps is None else min(steps, duration.max_steps)

    def passes(self, steps: int, tokens: int) -> float:
        """How often so many steps go over a text of `tokens`."""
        return steps * self.new_tokens_per_step / tokens

    def length(self, step: int, steps: int, context_length: int) -> int:
        """Tokens of a sequence at `step` of `steps`."""
        end = 0.0
        for phase in self.phases:
            end += phase.share
            if step < round(end * steps):
                return context_length // phase.divisor
        return context_length // self.phases[-1].divisor

    def steps_by_length(self, steps: int, context_length: int) -> dict[int, int]:
        """Tokens of a sequence → how many of all `steps` have it, as `length` says of each."""
        counts: dict[int, int] = {}
        share, begin = 0.0, 0
        for phase in self.phases:
            share += phase.share
            end = (
                steps if phase is self.phases[-1] else min(max(round(share * steps), begin), steps)
            )
            if end > begin:
                length = context_length // phase.divisor
                counts[length] = counts.get(length, 0) + end - begin
            begin = end
        return counts

    def warm_up_remark(self, steps: int) -> str | None:
        """What to know of a warm-up that the whole training is too short for."""
        warm_up = self.schedule.warmup_steps
        if warm_up <= steps:
            return None
        return (
            f"schedule.warmup_steps: {warm_up:,}, but there are {steps:,} steps: the rate never "
            f"reaches more than {steps / warm_up:.0%} of lr"
        )

    def refuse_context(self, context_length: int) -> None:
        """Raise a ValueError where a phase does not fit a model of `context_length`."""
        for phase in self.phases:
            length, left = divmod(context_length, phase.divisor)
            if left or not length:
                raise ValueError(
                    f"phases: {phase.divisor} does not divide {context_length}, the context_length"
                )
            if self.tokens_per_step % length:
                raise ValueError(
                    f"tokens_per_step: {self.tokens_per_step} is no multiple of "
                    f"{length}, the length of a sequence in phase {phase.divisor}"
                )


class PretrainConfig(TrainConfig):
    """Training from random weights."""

    duration: Annotated[Steps | Epochs, Field(discriminator="kind")] = Steps()
    """How long it trains."""
    lr: Rate = 0.02
    """Peak rate: about 0.02 for muon, 0.002 for adamw."""
    phases: tuple[Phase, ...] = GROWING
    """Sequence lengths, in order; the shares add up to 1."""
    keep: Literal["last", "best"] = "last"
    """Which weights are kept: the last, or those that validated best."""


class FinetuneConfig(TrainConfig):
    """Training that starts from a package."""

    duration: Annotated[Steps | Epochs, Field(discriminator="kind")] = Epochs()
    """How long it trains."""
    lr: Rate = 0.006
    """Peak rate: a third of the base model's or less, or more is forgotten and less is gained."""
    phases: tuple[Phase, ...] = GROWING
    """Sequence lengths, in order; the shares add up to 1."""
    keep: Literal["last", "best"] = "best"
    """Which weights are kept: the last, or those that validated best."""
    patience: Annotated[int, Field(gt=0, le=1000)] | None = 4
    """Validations in a row without a better one after which the training ends; null: never."""
    replay: Annotated[float, Field(ge=0, lt=1)] = 0.125
    """Share of the sequences that come from the old domain, so that less of it is forgotten."""
    freeze_embedding: bool = False
    """Leave the embedding table as it is."""
    freeze_blocks: Annotated[int, Field(ge=0, le=MOST_BLOCKS)] = 0
    """Leave this many of the first blocks as they are."""

    @property
    def new_tokens_per_step(self) -> float:
        """Target tokens of a step that come from the new domain."""
        return self.tokens_per_step * (1 - self.replay)


class PretrainParams(Config):
    """What the pretrain stage reads."""

    seed: Seed = 1337
    """Start of every random sequence: first weights, order of the data, samples."""
    model: ModelConfig = ModelConfig()
    """Sizes and parts of the model."""
    pretrain: PretrainConfig = PretrainConfig()
    """How the base model is trained."""

    @model_validator(mode="after")
    def _phases_fit_the_model(self) -> Self:
        try:
            self.pretrain.refuse_context(self.model.context_length)
        except ValueError as error:
            raise ValueError(f"pretrain.{error}") from error
        return self


class FinetuneParams(Config):
    """What the finetune stage reads."""

    seed: Seed = 1337
    """Start of every random sequence: first weights, order of the data, samples."""
    finetune: FinetuneConfig | None = FinetuneConfig()
    """How the base model is trained further; null: not at all, it is the model itself (no source
    has role finetune then)."""
