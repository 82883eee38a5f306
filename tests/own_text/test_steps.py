"""A few passes over a small text are enough steps, for these are smaller."""

import pytest

from minigpt.own_text.steps import tokens_per_step
from minigpt.training.config import Epochs, FinetuneConfig, Steps

CONFIG = FinetuneConfig(duration=Epochs(epochs=4), tokens_per_step=2048, replay=0.125)


@pytest.mark.parametrize(
    ("train_bytes", "size"), [(0, 512), (16_000, 512), (50_000, 1024), (100_000, 2048)]
)
def test_steps_are_halved_until_there_are_enough_of_them(train_bytes, size):
    assert tokens_per_step(CONFIG, train_bytes, context_length=512) == size


def test_a_number_of_steps_that_was_chosen_leaves_their_size_alone():
    config = CONFIG.replace(duration=Steps(max_steps=10))
    assert tokens_per_step(config, 16_000, context_length=512) == 2048
