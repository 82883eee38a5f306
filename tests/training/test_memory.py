"""Sizes that no memory holds are refused before anything of them is built."""

import pytest
from tiny_training import CONFIG, MACHINE, MODEL, VOCAB_SIZE

from minigpt.errors import ParamsError
from minigpt.machine import memory_bytes
from minigpt.model.build import build_model
from minigpt.params import Params
from minigpt.training import plan
from minigpt.training.config import AdamW
from minigpt.training.memory import bytes_a_parameter, refuse_beyond_memory
from minigpt.training.optim import build_optimizer

GB = 10**9


def refuse(model=MODEL, config=CONFIG, room=8 * GB, micro_batch=None):
    refuse_beyond_memory(model, 2048, {"pretrain": config}, room, micro_batch)


def test_what_fits_is_let_through():
    refuse()
    refuse(room=None)


def test_too_many_parameters_are_refused_with_what_they_take():
    line = (
        r"^params.yaml: pretrain needs at least [\d,]+ GB of memory, there are 8 GB: [\d,]+M "
        r"parameters with gradients and optimizer take [\d,.]+ GB.* Lower model$"
    )
    with pytest.raises(ParamsError, match=line):
        refuse(MODEL.replace(n_embd=2**16, n_layer=64))


def test_too_many_tokens_at_once_are_refused_and_a_micro_batch_helps():
    config = CONFIG.replace(tokens_per_step=2**26)
    with pytest.raises(ParamsError, match=r"Lower pretrain.tokens_per_step, or set MINIGPT_MICRO"):
        refuse(config=config, room=2 * GB)
    refuse(config=config, room=2 * GB, micro_batch=1)


@pytest.mark.parametrize("optimizer", [CONFIG.optimizer, AdamW()])
def test_a_training_takes_no_less_than_what_is_asked_for(optimizer):
    """Or a machine that could do it would be refused."""
    net = build_model(MODEL, VOCAB_SIZE, seed=0)
    count = sum(weight.numel() for weight in net.parameters())
    state = sum(tensor.numel() for tensor in build_optimizer(net, optimizer).state().values())
    norms = sum(weight.numel() for weight in net.parameters() if weight.dim() == 1)
    least = bytes_a_parameter(CONFIG.replace(optimizer=optimizer, lr=0.002, dtype="fp32"))
    # Frozen norms have neither gradient nor memory of the optimizer.
    assert 4 * (2 * count + state) >= least * (count - norms)


def test_plan_refuses_before_it_builds(monkeypatch):
    monkeypatch.setattr(plan, "measure", lambda *_: pytest.fail("built"))
    huge = MODEL.replace(n_embd=2**20, n_layer=2**12)
    with pytest.raises(ParamsError, match="needs at least"):
        plan.plan_training(huge, 2**20, {"pretrain": CONFIG}, {}, MACHINE)


def test_a_run_refuses_for_the_stages_that_it_would_train():
    params = Params()
    params.refuse_beyond_memory(["download", "export"], 1, None)
    with pytest.raises(ParamsError, match="finetune needs at least"):
        params.refuse_beyond_memory(["finetune"], 1, None)


def test_the_machine_has_memory():
    assert MACHINE.memory == memory_bytes() > 10**8
