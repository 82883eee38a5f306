"""Models that are trained with their rounding in place."""

import pytest
import torch

from minigpt.quantization import aware
from minigpt.quantization.swap import int4_scheme, int8_scheme, quantize
from tests.quantization.tiny_model import SIZES, tiny

TIED = SIZES.replace(tied=True, embedding_norm=False)
IDS = torch.arange(32).view(2, 16)


@pytest.fixture(params=[SIZES, TIED], ids=["two tables", "tied"])
def quantized(request):
    model = tiny(request.param)
    return quantize(model, int4_scheme(model, 32, ["embed", "head"]), IDS)


def test_it_starts_as_the_quantized_model_and_ends_as_it_was_trained(quantized):
    model = aware.trainable(quantized)
    # The codes are the same; a weight plus the way to its rounding may end in another last digit.
    torch.testing.assert_close(model(IDS), quantized(IDS), atol=1e-5, rtol=1e-5)
    assert len(list(model.parameters())) == len(list(quantized.parameters())) + (
        15 if quantized.config.tied else 16
    )
    before = quantized(IDS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.05)
    scales = {n: t.clone() for n, t in quantized.state_dict().items() if n.endswith("scale")}
    aware.take(quantized, model)
    torch.testing.assert_close(model(IDS), quantized(IDS), atol=1e-5, rtol=1e-5)
    assert (quantized(IDS) - before).norm() > 0.01 * before.norm()
    assert all(torch.equal(quantized.state_dict()[name], scale) for name, scale in scales.items())


def test_every_weight_learns_through_the_rounding(quantized):
    model = aware.trainable(quantized)
    model.loss_sum(IDS[:, :-1], IDS[:, 1:]).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_training_lowers_the_loss_of_the_rounded_model():
    model = tiny()
    quantized = quantize(model, int8_scheme(model))
    before = quantized.loss_sum(IDS[:, :-1], IDS[:, 1:])
    trained = aware.trainable(quantized)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        trained.loss_sum(IDS[:, :-1], IDS[:, 1:]).backward()
        optimizer.step()
    aware.take(quantized, trained)
    assert quantized.loss_sum(IDS[:, :-1], IDS[:, 1:]) < 0.8 * before
