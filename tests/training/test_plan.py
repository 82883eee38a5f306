"""What a training will cost is said of the device that it runs on."""

import pytest
import torch
from tiny_training import CONFIG, MACHINE, MODEL, VOCAB_SIZE

from minigpt.training import plan


def test_steps_tokens_and_memory_of_each_stage(monkeypatch):
    monkeypatch.setattr(plan, "MEASURE_SECONDS", 0.01)
    facts = plan.plan_training(MODEL, VOCAB_SIZE, {"pretrain": CONFIG}, MACHINE)
    assert facts["stages"]["pretrain"]["steps"] == CONFIG.max_steps
    assert facts["stages"]["pretrain"]["tokens"] == CONFIG.max_steps * CONFIG.tokens_per_step
    assert facts["device"] == "cpu"
    assert facts["memory_bytes"] > 1e6


@pytest.mark.parametrize(
    ("device", "module", "question"),
    [("cuda", torch.cuda, "max_memory_reserved"), ("mps", torch.mps, "driver_allocated_memory")],
)
def test_memory_is_that_of_the_gpu_which_computes(monkeypatch, device, module, question):
    monkeypatch.setattr(module, question, lambda: 123)
    assert plan.memory(device) == 123
