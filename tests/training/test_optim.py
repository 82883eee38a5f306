import pytest
import torch
from tiny_training import new_model

from minigpt.training.config import AdamW, Muon
from minigpt.training.optim import AdamPart, MuonPart, build_optimizer, orthogonal


def random_matrices(*shapes):
    generator = torch.Generator().manual_seed(0)
    return {f"m{i}": torch.randn(shape, generator=generator) for i, shape in enumerate(shapes)}


def step(part, grads, lr, number):
    for task in part.tasks(grads, lr, number):
        task()


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_adam_equals_torchs(decay):
    ours = random_matrices((4, 3), (5,))
    theirs = {name: torch.nn.Parameter(p.clone()) for name, p in ours.items()}
    part = AdamPart(ours, AdamW(eps=1e-8, weight_decay=decay))
    reference = torch.optim.AdamW(
        theirs.values(), lr=0.01, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay
    )
    for number in range(5):
        grads = {name: torch.sin(p * 3 + number) for name, p in ours.items()}
        for name, param in theirs.items():
            param.grad = grads[name].clone()
        step(part, grads, 0.01, number)
        reference.step()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name].detach(), atol=1e-6, rtol=1e-5)


def test_orthogonal_brings_singular_values_near_one():
    matrices = torch.randn(3, 16, 40, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonal(matrices).float())
    # Five iterations in bf16 end within about 15 per cent, as the paper's do.
    assert values.min() > 0.8
    assert values.max() < 1.2


def test_muon_gives_the_same_whatever_the_chunks():
    shapes = ((8, 4), (4, 8), (8, 4), (6, 6))
    results = []
    for chunks in (1, 2, 4):
        params = random_matrices(*shapes)
        part = MuonPart(params, Muon(), chunks)
        for number in range(3):
            step(part, {name: p.cos() for name, p in params.items()}, 0.02, number)
        results.append(params)
    assert [len(MuonPart(random_matrices(*shapes), Muon(), n).groups) for n in (1, 3)] == [2, 4]
    for name, expected in results[0].items():
        # bf16 products of one matrix or of several at once round alike to 8 bits.
        torch.testing.assert_close(results[1][name], expected, atol=2e-3, rtol=0)
        torch.testing.assert_close(results[2][name], expected, atol=2e-3, rtol=0)


def test_muon_moves_tall_matrices_further():
    tall, wide = torch.zeros(16, 4), torch.zeros(4, 16)
    part = MuonPart({"tall": tall, "wide": wide}, Muon(weight_decay=0))
    grad = torch.randn(16, 4, generator=torch.Generator().manual_seed(2))
    step(part, {"tall": grad, "wide": grad.T.contiguous()}, 0.1, 0)
    torch.testing.assert_close(tall, 2 * wide.T)  # sqrt(16 / 4)


@pytest.mark.parametrize("config", [Muon(), Muon(norm_lr_ratio=1.0), AdamW()])
def test_every_trainable_parameter_belongs_to_one_part(config):
    model = new_model()
    optimizer = build_optimizer(model, config)
    owned = sorted(name for part in optimizer.parts for name in part.params)
    assert owned == sorted(name for name, p in model.named_parameters() if p.requires_grad)


def test_muon_without_a_rate_for_norms_freezes_them():
    model = new_model()
    build_optimizer(model, Muon(norm_lr_ratio=0))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {name for name, p in model.named_parameters() if "norm" in name}


def test_attention_and_mlp_matrices_are_muons_and_tables_adams():
    muon, tables, head, _ = build_optimizer(new_model(), Muon()).parts
    assert all(name.startswith("blocks.") for name in muon.params)
    assert list(tables.params) == ["embed.weight"]
    assert list(head.params) == ["head.weight"]
