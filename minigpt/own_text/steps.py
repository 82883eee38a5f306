"""How large a step of fine-tuning is: a few passes over a small text must be enough steps."""

from minigpt.training.config import Epochs, FinetuneConfig

BYTES_A_TOKEN = 3.0
"""About what 2,048 tokens reach on English; for text that no tokenizer has seen here."""
LEAST_STEPS = 50
"""Fewer are too few for the rate to rise and to fall (docs/benchmarks.md)."""


def tokens_per_step(config: FinetuneConfig, train_bytes: int, context_length: int) -> int:
    """That of `config`, halved until there are LEAST_STEPS or a step is one sequence."""
    size = config.tokens_per_step
    if not isinstance(config.duration, Epochs):
        return size
    tokens = train_bytes / BYTES_A_TOKEN
    while (
        size % (2 * context_length) == 0
        and config.replace(tokens_per_step=size).steps(round(tokens)) < LEAST_STEPS
    ):
        size //= 2
    return size
