import dataclasses
import itertools
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import torch
from safetensors.torch import load_file
from tiny_training import CONFIG, MODEL, VOCAB_SIZE, new_model, new_run, open_split, train_tiny

from minigpt.data.batches import TokenStream
from minigpt.data.shards import open_tokens
from minigpt.errors import StageError
from minigpt.model.build import build_model
from minigpt.model.gpt import GPT
from minigpt.training.checkpoint import saved
from minigpt.training.config import AdamW, Epochs, Muon, Steps
from minigpt.training.lanes import Lanes
from minigpt.training.loop import clip, gradients
from minigpt.training.optim import Optimizer, freeze
from minigpt.training.precision import make_precision
from minigpt.training.validation import mean_loss

ROOT = Path(tiny_training.__file__).parents[2]


def start(tokens, workdir, out, *more, **environment):
    """The tiny training in a process of its own."""
    command = [sys.executable, tiny_training.__file__, tokens, workdir, out, *more]
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
    curve = result.curve
    assert curve.train[-1][1] < curve.train[0][1] - 1
    assert curve.val[-1][1] < 3.0 < 4.1 < curve.val[0][1] + 0.1  # ln(61) is what a guess scores


@pytest.mark.parametrize("keep", ["last", "best"])
def test_killed_and_resumed_equals_straight(tokens, straight, tmp_path, keep):
    workdir, out = tmp_path / "work", tmp_path / "model.safetensors"
    victim = start(tokens, workdir, out, keep)
    while not list(workdir.glob("checkpoint-*7")):
        assert victim.poll() is None, victim.stderr.read()
        time.sleep(0.002)
    victim.kill()
    victim.wait()
    assert not out.exists()
    resumed = start(tokens, workdir, out, keep)
    said = resumed.communicate()[1].decode()
    assert resumed.returncode == 0, said
    assert "resumed at step" in said
    weights, result = straight
    assert same(load_file(out), weights)
    result.curve.write(tmp_path / "straight")
    for name in ("train.csv", "val.csv"):
        resumed_curve = out.with_suffix("") / name
        assert resumed_curve.read_text() == (tmp_path / "straight" / name).read_text()


def stopped_at(run, tokens, step, config=CONFIG):
    """Train until the stop asked for after `step` takes effect: at the end of the next step."""
    ask = f"step {step}/"
    run.progress = lambda text: run.on_signal(15, None) if text.startswith(ask) else None
    with pytest.raises(SystemExit) as stopped:
        train_tiny(tokens, run, config)
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
    model, _ = train_tiny(tokens, new_run(tmp_path), CONFIG.replace(validations=24))
    assert same(dict(model.state_dict()), straight[0])


OVERFIT = CONFIG.replace(
    duration=Epochs(epochs=40, max_steps=None), lr=0.05, keep="best", validations=20
)
"""Forty passes over what SHORT leaves of the text: learned by heart, and worse on the rest."""


@pytest.fixture
def short(monkeypatch):
    """The training split is its first 640 tokens."""

    def open_short(folder, split="train"):
        tokens = open_tokens(folder, split, tiny_training.DIGEST)
        if split != "train":
            return tokens
        part = tokens.shards[0][:640]
        return dataclasses.replace(tokens, shards=(part,), docs=np.array([0, len(part)]))

    monkeypatch.setattr(tiny_training, "open_split", open_short)


def val_loss(model, tokens):
    with Lanes(2, 2) as lanes:
        working = make_precision(CONFIG.dtype, model).working
        return mean_loss(working, lanes, tokens=open_split(tokens, "val"))


def test_planted_overfit_keeps_the_best_weights(tokens, tmp_path, short):
    model, result = train_tiny(tokens, new_run(tmp_path), OVERFIT)
    losses = dict(result.curve.val)
    assert len(losses) == 21  # one before the first step, twenty of the training
    best = min(losses, key=losses.__getitem__)
    assert 0 < best < result.steps == 200
    assert losses[result.steps] > losses[best] + 0.2
    assert result.kept_step == best
    assert val_loss(model, tokens) == losses[best]
    advice = result.advice("finetune")
    assert advice.startswith(f"memorising since step {best}: at the end the loss is ")
    assert f"What came after step {best} is not kept. Fewer passes" in advice
    assert "finetune.duration" in advice
    assert "finetune.lr" in advice
    assert result.summary(OVERFIT, 640) == (
        f"200 steps, 40 passes over 0.6k tokens · kept step {best}, which validated best"
    )


def test_training_ends_where_it_only_gets_worse(tokens, tmp_path, short):
    whole, _ = train_tiny(tokens, new_run(tmp_path / "whole"), OVERFIT)
    patient = OVERFIT.replace(patience=3)
    model, result = train_tiny(tokens, new_run(tmp_path / "patient"), patient)
    assert result.steps == result.kept_step + 30 < 200
    assert same(dict(model.state_dict()), dict(whole.state_dict()))
    again, resumed = train_tiny(tokens, new_run(tmp_path / "patient"), patient)  # all was done
    assert resumed.curve == result.curve
    assert same(dict(again.state_dict()), dict(model.state_dict()))


def test_best_weights_survive_a_stop_behind_them(tokens, tmp_path, short):
    straight, expected = train_tiny(tokens, new_run(tmp_path / "straight"), OVERFIT)
    assert expected.kept_step < 150
    workdir = tmp_path / "work"
    assert stopped_at(new_run(workdir), tokens, 150, OVERFIT) == 143
    model, result = train_tiny(tokens, new_run(workdir), OVERFIT)
    assert result == expected
    assert same(dict(model.state_dict()), dict(straight.state_dict()))


def test_a_training_that_only_does_harm_keeps_what_it_began_with(tokens, tmp_path):
    model = new_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    config = CONFIG.replace(keep="best", lr=9.0, grad_clip=1.0)
    _, result = train_tiny(tokens, new_run(tmp_path), config, model)
    assert result.kept_step == 0
    assert "kept none of them: before the first it validated best" in result.summary(config, 640)
    assert same(dict(model.state_dict()), before)


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
    assert result.curve.train[-1][1] < result.curve.train[0][1] - 0.5


def test_frozen_parameters_stay(tokens, tmp_path):
    model = new_model()
    freeze(model.blocks[0].parameters())
    frozen = {name: p.clone() for name, p in model.blocks[0].named_parameters()}
    last = model.blocks[1].mlp.down.weight.clone()
    _, result = train_tiny(
        tokens, new_run(tmp_path), CONFIG.replace(duration=Steps(max_steps=3)), model
    )
    assert same(dict(model.blocks[0].named_parameters()), frozen)
    assert not torch.equal(model.blocks[1].mlp.down.weight, last)
    assert result.n_trained < sum(p.numel() for p in model.parameters())


def test_loss_that_is_no_number_stops_with_advice(tokens, tmp_path):
    model = new_model()
    with torch.no_grad():
        model.head.weight.fill_(float("nan"))
    with pytest.raises(StageError, match=r"validation loss is nan\. .*lower pretrain\.lr"):
        train_tiny(tokens, new_run(tmp_path), model=model)


@pytest.fixture
def nan_at(monkeypatch):
    """The gradients of a step, and of those from there on if asked for, hold NaN; no loss does."""
    honest, calls = GPT.loss_sum, itertools.count()

    def use(step, *, once=False):
        def loss_sum(model, ids, targets):
            loss = honest(model, ids, targets)
            if not torch.is_grad_enabled():  # a validation
                return loss
            done = next(calls) // 2  # two lanes
            if done < step - 1 or (once and done >= step):
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
    config = CONFIG.replace(dtype="fp16", duration=Steps(max_steps=9))
    nan_at(step=4, once=True)
    model, result = train_tiny(tokens, new_run(tmp_path, checkpoint_seconds=0), config)
    assert result.curve.train[-1][0] == result.curve.val[-1][0] == 9
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_fp16_does_not_go_on_for_ever_where_no_scale_helps(tokens, tmp_path, nan_at):
    nan_at(step=3)
    config = CONFIG.replace(dtype="fp16", duration=Steps(max_steps=100))
    with pytest.raises(StageError, match=r"^step 33: step after step, gradients overflow"):
        train_tiny(tokens, new_run(tmp_path, checkpoint_seconds=0), config)
    assert saved(tmp_path)[0].name == "checkpoint-00000002"


def test_clipping_scales_all_gradients_to_the_limit():
    grads = {"a": torch.full((3,), 2.0), "b": torch.full((1,), 2.0)}
    assert clip(grads, limit=1.0) == 4.0
    assert clip(grads, limit=None) == pytest.approx(1.0)
