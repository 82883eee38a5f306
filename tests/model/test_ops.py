"""The hand-written bf16 steps against the plain modules in fp32, gradients included."""

import copy

import pytest
import torch
from torch import nn

from minigpt.model import fused, ops
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig

CONFIG = ModelConfig(n_layer=2, n_embd=64, n_head=6, n_kv_head=2, head_dim=16, mlp_dim=96)
VOCAB = 80


def pair(seed=0, config=CONFIG):
    """A bf16 model and the plain fp32 one with the same weights."""
    model = build_model(config, VOCAB, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)
    rounded = model.bfloat16()
    return rounded, copy.deepcopy(rounded).float()


def data(B, T):
    generator = torch.Generator().manual_seed(B * T)
    ids, targets = torch.randint(VOCAB, (2, B, T), generator=generator)
    targets[0, : T // 3] = -100
    return ids, targets


def error(actual, expected):
    """Relative to the size of the whole tensor."""
    return float(((actual.float() - expected).norm() / expected.norm()).detach())


# bf16 keeps 8 bits: a rounding is up to 0.4 %; some in a row stay under 2 %, two blocks under 4 %.
ONE_STEP, MODEL = 0.02, 0.04


@pytest.mark.parametrize("T", [1, 7, 128, 200, 300])
def test_loss_and_all_gradients_are_the_plain_models(T):
    fast, plain = pair()
    ids, targets = data(3, T)
    loss, expected = fast.loss_sum(ids, targets), plain.loss_sum(ids, targets)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.005)
    (loss / 7).backward()
    (expected / 7).backward()
    for (name, weight), reference in zip(fast.named_parameters(), plain.parameters(), strict=True):
        if reference.grad.norm() < 1e-6:  # with one position nothing depends on queries and keys
            assert weight.grad.norm() < 1e-3, name
        else:
            assert error(weight.grad, reference.grad) < MODEL, name


@pytest.mark.parametrize("step", ["attention", "mlp"])
def test_one_step_is_the_plain_modules(step):
    fast, plain = pair()
    x = torch.randn(2, 150, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    ours, theirs = x.clone().requires_grad_(), x.float().requires_grad_()
    tables = plain.position.tables(torch.arange(150))
    a, b = fast.blocks[0], plain.blocks[0]
    if step == "attention":
        y = fused.add_attention(ours, a.norm1, a.attention, tables)
        z = theirs + b.attention(b.norm1(theirs), tables)
    else:
        y, z = fused.add_mlp(ours, a.norm2, a.mlp), theirs + b.mlp(b.norm2(theirs))
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    y.backward(grad)
    z.backward(grad.float())
    assert error(y, z) < ONE_STEP
    assert error(ours.grad, theirs.grad) < ONE_STEP


def test_head_loss_does_not_depend_on_how_many_logits_are_held(monkeypatch):
    x = torch.randn(1, 50, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight = torch.randn(VOCAB, 16, generator=torch.Generator().manual_seed(1)).bfloat16()
    targets = torch.arange(50)[None] % VOCAB
    results = []
    for logits in (ops.LOGITS, 7 * VOCAB):
        monkeypatch.setattr(ops, "LOGITS", logits)
        ours = x.clone().requires_grad_()
        loss = ops.head_loss(ours, weight, targets, 1e-6)
        loss.backward()
        results.append((loss.detach(), ours.grad))
    torch.testing.assert_close(*(loss for loss, _ in results))
    torch.testing.assert_close(*(grad for _, grad in results))


def test_without_gradients_the_loss_is_the_same():
    fast, _ = pair()
    ids, targets = data(2, 20)
    with torch.no_grad():
        quiet = fast.loss_sum(ids, targets)
    assert torch.equal(quiet, fast.loss_sum(ids, targets).detach())


def test_two_runs_give_the_same_bits_under_deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    try:
        runs = []
        for _ in range(2):
            fast, _ = pair()
            fast.loss_sum(*data(4, 140)).backward()
            runs.append([weight.grad for weight in fast.parameters()])
        assert all(map(torch.equal, *runs))
    finally:
        torch.use_deterministic_algorithms(False)


def test_frozen_weights_get_no_gradient_and_change_no_other():
    fast, _ = pair()
    frozen = copy.deepcopy(fast)
    for name, weight in frozen.named_parameters():
        weight.requires_grad_("norm" not in name)
    for model in (fast, frozen):
        model.loss_sum(*data(2, 30)).backward()
    for (name, weight), other in zip(fast.named_parameters(), frozen.parameters(), strict=True):
        assert (other.grad is None) if "norm" in name else torch.equal(weight.grad, other.grad)


@pytest.mark.parametrize("changes", [{"qk_norm": False}, {"bias": True}], ids=str)
def test_what_the_steps_have_no_word_for_takes_the_plain_path(changes):
    fast, plain = pair(config=CONFIG.replace(**changes))
    x = torch.randn(1, 4, 64).bfloat16()
    block, tables = fast.blocks[0], fast.position.tables(torch.arange(4))
    assert fused.add_attention(x, block.norm1, block.attention, tables) is None
    assert (fused.add_mlp(x, block.norm2, block.mlp) is None) == ("bias" in changes)
    ids, targets = data(2, 30)
    loss, expected = fast.loss_sum(ids, targets), plain.loss_sum(ids, targets)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.005)
    (loss / 7).backward()
    (expected / 7).backward()
    for (name, weight), reference in zip(fast.named_parameters(), plain.parameters(), strict=True):
        if reference.grad.norm() > 1e-6:
            assert error(weight.grad, reference.grad) < MODEL, name


class Doubled(nn.Linear):
    """Stands for an adapter: as Linear by type, another function."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_a_swapped_linear_takes_the_plain_path():
    fast, plain = pair()
    ids, targets = data(2, 10)
    for model in (fast, plain):
        up = model.blocks[0].mlp.up
        swapped = Doubled(up.in_features, up.out_features, bias=False, dtype=up.weight.dtype)
        swapped.weight = up.weight
        model.blocks[0].mlp.up = swapped
    loss, expected = (float(m.loss_sum(ids, targets).detach()) for m in (fast, plain))
    assert loss == pytest.approx(expected, rel=0.005)
