"""The least memory that a training takes, known before anything of it is built. No torch here."""

from collections.abc import Mapping

from minigpt.errors import ParamsError
from minigpt.model.config import ModelConfig
from minigpt.model.count import parameters
from minigpt.training.config import AdamW, TrainConfig


def refuse_beyond_memory(
    model: ModelConfig,
    vocab_size: int,
    trainings: Mapping[str, TrainConfig],
    room: int | None,
    micro_batch: int | None,
) -> None:
    """Refuse sizes that this machine cannot hold, instead of being killed by the system for them.

    Args:
        model: what is trained.
        vocab_size: its tokens.
        trainings: stage → how it trains.
        room: bytes of memory there are; None: not known.
        micro_batch: sequences of a forward pass; None: all of a step.

    Raises:
        ParamsError: names the stage, what it takes at least, what there is, and the keys.
    """
    if room is None:
        return
    count = parameters(model, vocab_size)
    for stage, config in trainings.items():
        weights = count * bytes_a_parameter(config)
        tokens = bytes_of_tokens(model, config, micro_batch)
        if (least := weights + tokens) > room:
            keys = "model" if weights > tokens else f"{stage}.tokens_per_step"
            raise ParamsError(
                f"params.yaml: {stage} needs at least {least / 1e9:,.0f} GB of memory, there are "
                f"{room / 1e9:,.0f} GB: {count / 1e6:,.0f}M parameters with gradients and "
                f"optimizer take {weights / 1e9:,.1f} GB, the tokens of a step "
                f"{tokens / 1e9:,.1f} GB. Lower {keys}"
                + ("" if weights > tokens else ", or set MINIGPT_MICRO_BATCH=1")
            )


def bytes_a_parameter(config: TrainConfig) -> int:
    """Weight and gradient in fp32, the optimizer's memory, and the copy that is computed with."""
    optimizer = 8 if isinstance(config.optimizer, AdamW) else 4
    return 4 + 4 + optimizer + (0 if config.dtype == "fp32" else 2)


def bytes_of_tokens(model: ModelConfig, config: TrainConfig, micro_batch: int | None) -> int:
    """Ids and targets of a step, and what backward finds in front of each half of a block."""
    longest = config.longest(model.context_length)
    at_once = min(config.tokens_per_step, (micro_batch or config.tokens_per_step) * longest)
    return 16 * config.tokens_per_step + at_once * 2 * model.n_layer * model.n_embd * 2
