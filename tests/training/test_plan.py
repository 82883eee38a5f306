"""What a training will cost is said of the device that it runs on."""

import pytest
import torch
from tiny_training import CONFIG, MACHINE, MODEL, VOCAB_SIZE

from minigpt.training import plan
from minigpt.training.config import Epochs


def test_steps_tokens_and_memory_of_each_stage(monkeypatch):
    monkeypatch.setattr(plan, "MEASURE_SECONDS", 0.01)
    facts = plan.plan_training(MODEL, VOCAB_SIZE, {"pretrain": CONFIG}, {"pretrain": 1536}, MACHINE)
    stage = facts["stages"]["pretrain"]
    assert (stage["steps"], stage["tokens"], stage["passes"]) == (24, 24 * 128, 2.0)
    assert not stage["at_most"]
    assert facts["device"] == "cpu"
    assert "never reaches" not in str(stage["remark"])
    slow = CONFIG.replace(schedule=CONFIG.schedule.replace(warmup_steps=240))
    facts = plan.plan_training(MODEL, VOCAB_SIZE, {"pretrain": slow}, {}, MACHINE)
    assert "240, but there are 24 steps" in facts["stages"]["pretrain"]["remark"]
    assert facts["memory_bytes"] > 1e6


def test_text_that_is_not_here_yet_leaves_the_steps_open(monkeypatch):
    monkeypatch.setattr(plan, "MEASURE_SECONDS", 0.01)
    stages = {
        "bounded": CONFIG.replace(duration=Epochs(epochs=4, max_steps=10)),
        "unbounded": CONFIG.replace(duration=Epochs(epochs=4, max_steps=None)),
    }
    facts = plan.plan_training(MODEL, VOCAB_SIZE, stages, {}, MACHINE)["stages"]
    assert (facts["bounded"]["steps"], facts["bounded"]["at_most"]) == (10, True)
    assert facts["unbounded"]["steps"] is facts["unbounded"]["seconds"] is None
    assert facts["bounded"]["passes"] is facts["unbounded"]["passes"] is None


@pytest.mark.parametrize(
    ("device", "module", "question"),
    [("cuda", torch.cuda, "max_memory_reserved"), ("mps", torch.mps, "driver_allocated_memory")],
)
def test_memory_is_that_of_the_gpu_which_computes(monkeypatch, device, module, question):
    monkeypatch.setattr(module, question, lambda: 123)
    assert plan.memory(device) == 123


def test_of_a_large_step_a_part_is_timed_and_of_one_sequence_that_is_too_large_nothing(monkeypatch):
    monkeypatch.setattr(plan, "MEASURE_SECONDS", 0.01)
    timed = []
    whole = plan.gradients

    def noted(precision, ids, *others):
        timed.append(ids.shape)
        return whole(precision, ids, *others)

    monkeypatch.setattr(plan, "gradients", noted)
    monkeypatch.setitem(plan.LARGEST_STEP, "cpu", 1e10)
    config = CONFIG.replace(tokens_per_step=MODEL.context_length * 2**14)
    facts = plan.plan_training(MODEL, VOCAB_SIZE, {"pretrain": config}, {}, MACHINE)
    assert max(rows for rows, _ in timed) < 2**14
    assert facts["stages"]["pretrain"]["seconds"] > 0
    deep = MODEL.replace(n_layer=1000)
    facts = plan.plan_training(deep, VOCAB_SIZE, {"pretrain": CONFIG}, {"pretrain": 1536}, MACHINE)
    assert facts["stages"]["pretrain"]["seconds"] is None
