"""What a training will cost, before it starts: sizes by formula, time by measurement."""

import time
from collections.abc import Mapping
from typing import Any

import psutil
import torch

from minigpt.machine import Machine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.model.count import flops_per_token, parameters
from minigpt.training.config import TrainConfig
from minigpt.training.lanes import Lanes, lane_count
from minigpt.training.loop import gradients
from minigpt.training.memory import refuse_beyond_memory
from minigpt.training.optim import build_optimizer
from minigpt.training.precision import make_precision

MEASURE_SECONDS = 2.0
LARGEST_STEP = {"cpu": 1e12, "cuda": 1e15, "mps": 1e13}
"""Operations of the step that is timed: seconds at most. Of a larger one a part is timed."""
A_BLOCK = 1e9
"""Operations in whose time Python goes through a block, however small that is."""


def plan_training(
    model: ModelConfig,
    vocab_size: int,
    stages: Mapping[str, TrainConfig],
    texts: Mapping[str, int],
    machine: Machine,
) -> dict[str, Any]:
    """Parameters, tokens, memory (bytes, of the device) and seconds of each training stage here.

    `texts`: stage → tokens of its text. A stage whose text is not known, and whose duration follows
    from it, counts as long as it may get; where nothing bounds it, its figures are None.

    Steps on random tokens are timed for about two seconds a stage, at each sequence length of it;
    where one sequence would take long, seconds are None.

    Raises:
        ParamsError: a stage needs more memory than the device has; nothing was built.
    """
    refuse_beyond_memory(model, vocab_size, stages, machine.memory, machine.micro_batch)
    machine.prepare_torch()
    facts: dict[str, Any] = {"parameters": parameters(model, vocab_size), "stages": {}}
    for name, config in stages.items():
        text = texts.get(name)
        steps = config.duration.max_steps if text is None else config.steps(text)
        seconds = None
        if steps is not None:
            lengths = config.steps_by_length(steps, model.context_length)
            measured = measure(model, vocab_size, config, sorted(lengths), machine)
            if measured is not None:
                seconds = round(sum(measured[length] * count for length, count in lengths.items()))
        facts["stages"][name] = {
            "steps": steps,
            "remark": None if steps is None else config.warm_up_remark(steps),
            "at_most": text is None and config.duration.kind == "epochs",
            "tokens": None if steps is None else steps * config.tokens_per_step,
            "text_tokens": text,
            "passes": None if text is None else config.passes(config.steps(text), text),
            "seconds": seconds,
        }
    return facts | {"device": machine.torch_device, "memory_bytes": memory(machine.torch_device)}


def memory(device: str) -> int:
    """The bytes that this process took of the memory which `device` computes in, at its most."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved()
    if device == "mps":
        return torch.mps.driver_allocated_memory()
    return int(psutil.Process().memory_info().rss)


def measure(
    model: ModelConfig, vocab_size: int, config: TrainConfig, lengths: list[int], machine: Machine
) -> dict[int, float] | None:
    """Seconds of one optimizer step at each sequence length; the fastest of those that fit.

    Where a step is large, some of its sequences are timed; None where one alone is too large.
    """
    most = LARGEST_STEP[torch.device(machine.torch_device).type] - A_BLOCK * model.n_layer
    fitting = {
        length: int(most // (flops_per_token(model, vocab_size, length) * length))
        for length in lengths
    }
    if min(fitting.values()) < 1:
        return None
    net = build_model(model, vocab_size, seed=0).to(machine.torch_device)
    rows = {length: min(config.tokens_per_step // length, fitting[length]) for length in lengths}
    count = lane_count(machine, list(rows.values()))
    optimizer = build_optimizer(net, config.optimizer, chunks=count)
    precision = make_precision(config.dtype, net, compiled=machine.compile)
    seconds: dict[int, float] = {}
    with Lanes(count, machine.threads) as lanes:
        for length in lengths:
            ids = torch.randint(vocab_size, (rows[length], length), device=machine.torch_device)
            end = time.monotonic() + MEASURE_SECONDS / len(lengths)
            times: list[float] = []
            while len(times) < 2 or time.monotonic() < end:
                start = time.perf_counter()
                _, grads = gradients(precision, ids, ids, ids.numel(), lanes, machine.micro_batch)
                with torch.no_grad():
                    lanes.run(optimizer.tasks(grads, config.lr, len(times)))
                precision.refresh()
                times.append(time.perf_counter() - start)
            part = rows[length] / (config.tokens_per_step // length)
            seconds[length] = min(times[1:]) / part
    return seconds
