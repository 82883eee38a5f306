"""Loss on held-out tokens, in the same arithmetic as training."""

import math
from functools import partial

import torch

from minigpt.data.batches import every_target
from minigpt.data.shards import Tokens
from minigpt.machine import Machine
from minigpt.model.gpt import GPT, IGNORED
from minigpt.training.config import Dtype
from minigpt.training.lanes import Lanes
from minigpt.training.precision import make_precision

SEQUENCES = 4
"""Of one forward pass."""
CURVE_WINDOWS = 128
"""Most windows of a validation during training; the figures at the end use the whole split."""


@torch.no_grad()
def mean_loss(model: GPT, lanes: Lanes, *, tokens: Tokens, max_windows: int | None = None) -> float:
    """Nats a token over windows of context_length that do not overlap, all or that many."""
    device = model.head.weight.device
    length = model.config.context_length
    count, tasks = 0, []
    for ids, targets in every_target(tokens, SEQUENCES, length, max_windows):
        count += int((targets != IGNORED).sum())
        tasks.append(partial(model.loss_sum, ids.to(device), targets.to(device)))
    return sum(loss.item() for loss in lanes.run(tasks)) / count


def figures(model: GPT, tokens: Tokens, dtype: Dtype, machine: Machine) -> dict[str, float]:
    """`loss` (nats a token) and `bits_per_byte` over a whole split, computed in `dtype`."""
    working = make_precision(dtype, model).working.to(machine.torch_device)
    with Lanes(machine.threads if machine.torch_device == "cpu" else 1, machine.threads) as lanes:
        loss = mean_loss(working, lanes, tokens=tokens)
    model.to("cpu")
    bits = loss * (len(tokens) - 1) / math.log(2)
    return {"loss": loss, "bits_per_byte": bits / tokens.n_bytes}
