import itertools
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_training
import torch
from safetensors.torch import load_file
from tiny_training import CONFIG, MODEL, VOCAB_SIZE, new_model, new_run, open_split, train_tiny

from minigpt.data.batches import TokenStream
from minigpt.errors import StageError
from minigpt.model.build import build_model
from minigpt.model.gpt import GPT
from minigpt.training.checkpoint import saved
from minigpt.training.config import AdamW, Muon
from minigpt.training.lanes import Lanes
from minigpt.training.loop import clip, gradients
from minigpt.training.optim import Optimizer, freeze
from minigpt.training.precision import make_precision

ROOT = Path(tiny_training.__file__).parents[2]


def start(tokens, workdir, out, **environment):
    """The tiny training in a process of its own."""
    command = [sys.executable, tiny_training.__file__, tokens, workdir, out]
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    return subprocess.Popen(
        [str(part) for part in command], env=inherited | environment, stderr=subprocess.PIPE
    )


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@pytest.fixture(scope="module")
def straight(tokens, tmp_path_factory):
    """Weights and curve of a run that nobody interrupted."""
    model, result = train_tiny(tokens, new_run(tmp_path_factory.mktemp("straight")))
    return dict(model.state_dict()), result


def test_training_learns_what_comes_next(tokens, straight):
    _, result = straight
    first, last = result.curve.rows[0], result.curve.rows[-1]
    assert last[1] < first[1] - 1
    assert last[2] < 3.0 < 4.1  # ln(61) is what a guess scores


def test_killed_and_resumed_equals_straight(tokens, straight, tmp_path):
    workdir, out = tmp_path / "work", tmp_path / "model.safetensors"
    victim = start(tokens, workdir, out)
    while not list(workdir.glob("checkpoint-*7")):
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.002)
    victim.kill()
    victim.wait()
    assert not out.exists()
    resumed = start(tokens, workdir, out)
    said = resumed.communicate()[1].decode()
    assert resumed.returncode == 0, said
    assert "resumed at step" in said
    weights, result = straight
    assert same(load_file(out), weights)
    assert out.with_suffix(".json").read_text() == json.dumps(result.curve.rows)


def stopped_at(run, tokens, step):
    """Train until the stop asked for after `step` takes effect: at the end of the next step."""
    ask = f"step {step}/"
    run.progress = lambda text: run.on_signal(15, None) if text.startswith(ask) else None
    with pytest.raises(SystemExit) as stopped:
        train_tiny(tokens, run)
    return stopped.value.code


def test_asked_to_stop_saves_and_goes_on_exactly(tokens, straight, tmp_path):
    assert stopped_at(new_run(tmp_path), tokens, step=7) == 143
    said = []
    again = new_run(tmp_path)
    again.say = said.append
    model, result = train_tiny(tokens, again)
    weights, expected = straight
    assert said == ["resumed at step 8 (checkpoint 0 s before the stop)"]
    assert same(dict(model.state_dict()), weights)
    assert result.curve == expected.curve


def test_torn_checkpoint_is_named_and_the_one_before_gives_the_same_bytes(
    tokens, straight, tmp_path
):
    stopped_at(new_run(tmp_path, checkpoint_seconds=0), tokens, step=8)
    torn = tmp_path / "checkpoint-00000009" / "tensors.safetensors"
    torn.write_bytes(torn.read_bytes()[:-100])
    said = []
    again = new_run(tmp_path)
    again.say = said.append
    model, _ = train_tiny(tokens, again)
    assert said[0].startswith("checkpoint-00000009 is torn")
    assert said[1].startswith("resumed at step 8")
    assert same(dict(model.state_dict()), straight[0])


def test_validation_leaves_training_alone(tokens, straight, tmp_path):
    model, _ = train_tiny(tokens, new_run(tmp_path), CONFIG.replace(eval_every=3))
    assert same(dict(model.state_dict()), straight[0])


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("micro_batch", [1, 2, 3, None])
def test_accumulated_gradients_equal_those_of_the_whole_batch(tokens, lanes, micro_batch):
    ids, targets = TokenStream(open_split(tokens), seed=1).take(8, 16)
    targets[0, 5:] = -100  # shares with unequal numbers of targets
    n_targets = int((targets != -100).sum())
    model = build_model(MODEL, VOCAB_SIZE, seed=1)
    with torch.no_grad():
        model.head.weight.normal_(std=0.1)
    expected = torch.autograd.grad(
        torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten()),
        list(model.parameters()),
    )
    with Lanes(lanes, 2) as pool:
        _, grads = gradients(
            make_precision("fp32", model), ids, targets, n_targets, pool, micro_batch
        )
    for grad, wanted in zip(grads.values(), expected, strict=True):
        # The same fp32 sums in another order.
        torch.testing.assert_close(grad, wanted, atol=1e-6, rtol=1e-5)


def test_two_processes_follow_one(tokens, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    outs = [tmp_path / f"{rank}.safetensors" for rank in range(2)]
    ranks = [
        start(tokens, tmp_path / f"work{rank}", out, RANK=str(rank), LOCAL_RANK=str(rank), **group)
        for rank, out in enumerate(outs)
    ]
    for rank in ranks:
        assert rank.wait() == 0, rank.stderr.read()
    one, other = (load_file(out) for out in outs)
    assert same(one, other)
    config = CONFIG
    single, _ = train_tiny(tokens, new_run(tmp_path / "single"), config)
    for name, weight in single.state_dict().items():
        # bf16 activations summed in other groups, and 24 steps for the difference to grow.
        torch.testing.assert_close(one[name], weight, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("optimizer", [Muon(norm_lr_ratio=0.5), AdamW()])
@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_every_precision_and_optimizer_learns(tokens, tmp_path, optimizer, dtype):
    config = CONFIG.replace(
        dtype=dtype, optimizer=optimizer, lr=0.02 if optimizer.kind == "muon" else 0.01
    )
    _, result = train_tiny(tokens, new_run(tmp_path), config)
    assert result.curve.rows[-1][1] < result.curve.rows[0][1] - 0.5


def test_frozen_parameters_stay(tokens, tmp_path):
    model = new_model()
    freeze(model.blocks[0].parameters())
    frozen = {name: p.clone() for name, p in model.blocks[0].named_parameters()}
    last = model.blocks[1].mlp.down.weight.clone()
    _, result = train_tiny(tokens, new_run(tmp_path), CONFIG.replace(max_steps=3), model)
    assert same(dict(model.blocks[0].named_parameters()), frozen)
    assert not torch.equal(model.blocks[1].mlp.down.weight, last)
    assert result.n_trained < sum(p.numel() for p in model.parameters())


def test_loss_that_is_no_number_stops_with_advice(tokens, tmp_path):
    model = new_model()
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(StageError, match=r"^step 1: the loss is nan\. .*lower pretrain\.lr"):
        train_tiny(tokens, new_run(tmp_path), model=model)


@pytest.fixture
def nan_at(monkeypatch):
    """The gradients of a step, and of those from there on if asked for, hold NaN; no loss does."""
    honest, calls = GPT.loss_sum, itertools.count()

    def use(step, *, once=False):
        def loss_sum(model, ids, targets):
            loss, done = honest(model, ids, targets), next(calls) // 2  # two lanes
            if not torch.is_grad_enabled() or done < step - 1 or (once and done >= step):
                return loss
            # d sqrt(x) / dx is infinite at 0, and infinity times 0 is no number.
            return loss + (model.embed.weight.sum() * 0).sqrt() * 0

        monkeypatch.setattr(GPT, "loss_sum", loss_sum)

    return use


def test_gradients_that_are_no_numbers_are_neither_applied_nor_saved(
    tokens, straight, tmp_path, nan_at, monkeypatch
):
    nan_at(step=9)
    said = r"^step 9: the gradients' norm is nan, though the loss is [0-9.]+\. .*pretrain\.lr"
    with pytest.raises(StageError, match=said):
        train_tiny(tokens, new_run(tmp_path, checkpoint_seconds=0))
    monkeypatch.undo()  # what a chip got wrong once
    lines = []
    again = new_run(tmp_path)
    again.say = lines.append
    model, result = train_tiny(tokens, again)
    assert lines[0].startswith("resumed at step 8")
    assert same(dict(model.state_dict()), straight[0])
    assert result.curve == straight[1].curve


def test_weights_that_an_update_broke_are_not_saved(tokens, tmp_path, monkeypatch):
    honest = Optimizer.tasks

    def tasks(self, grads, lr, step):
        return honest(self, grads, float("nan") if step == 5 else lr, step)

    monkeypatch.setattr(Optimizer, "tasks", tasks)
    with pytest.raises(StageError, match=r"^step 6: weights\.\S+ is not finite"):
        train_tiny(tokens, new_run(tmp_path, checkpoint_seconds=0))
    assert [path.name for path in saved(tmp_path)] == ["checkpoint-00000005", "checkpoint-00000004"]


def test_fp16_leaves_a_step_that_overflows_out_and_resumes_exactly(tokens, tmp_path, nan_at):
    config = CONFIG.replace(dtype="fp16", max_steps=9)
    nan_at(step=4, once=True)
    model, result = train_tiny(tokens, new_run(tmp_path, checkpoint_seconds=0), config)
    assert result.curve.rows[-1][0] == 9
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_fp16_does_not_go_on_for_ever_where_no_scale_helps(tokens, tmp_path, nan_at):
    nan_at(step=3)
    config = CONFIG.replace(dtype="fp16", max_steps=100)
    with pytest.raises(StageError, match=r"^step 33: step after step, gradients overflow"):
        train_tiny(tokens, new_run(tmp_path, checkpoint_seconds=0), config)
    assert saved(tmp_path)[0].name == "checkpoint-00000002"


def test_clipping_scales_all_gradients_to_the_limit():
    grads = {"a": torch.full((3,), 2.0), "b": torch.full((1,), 2.0)}
    assert clip(grads, limit=1.0) == 4.0
    assert clip(grads, limit=None) == pytest.approx(1.0)
