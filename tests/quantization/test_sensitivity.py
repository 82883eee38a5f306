"""Which tables the 4-bit package keeps in 8 bits."""

import pytest
import torch

from minigpt.quantization.sensitivity import kept_in_8_bits, table_costs
from minigpt.quantization.swap import int4_scheme, quantize
from tests.quantization.tiny_model import SIZES, tiny

IDS = torch.arange(32).view(2, 16)


@pytest.fixture
def model():
    return tiny()


def test_a_table_costs_more_the_more_its_rounding_moves_the_predictions(model):
    with torch.no_grad():
        model.head.weight.mul_(0.01)
        before = table_costs(model, 32, IDS)
        model.head.weight.mul_(1000)
    after = table_costs(model, 32, IDS)
    assert 0 < before["head"] < before["embed"]
    assert after["head"] > 100 * before["head"]


def test_what_costs_most_comes_first_and_size_decides_how_much(model):
    costs = {"embed": 0.1, "head": 0.2}
    sizes = {
        kept: bytes_of(quantize(model, int4_scheme(model, 32, kept)))
        for kept in ((), ("head",), ("head", "embed"))
    }
    whole = bytes_of(model)
    for kept, size in sizes.items():
        assert kept_in_8_bits(model, 32, costs, size / whole) == kept
        assert kept_in_8_bits(model, 32, costs, (size - 1) / whole) != kept or not kept
    dear_embedding = {"embed": 0.2, "head": 0.1}
    assert kept_in_8_bits(model, 32, dear_embedding, sizes["head",] / whole) == ("embed",)
    assert kept_in_8_bits(model, 32, costs, 0.001) == ()


def test_a_tied_table_is_one():
    model = tiny(SIZES.replace(tied=True, embedding_norm=False))
    costs = table_costs(model, 32, IDS)
    assert list(costs) == ["embed"]
    kept = quantize(model, int4_scheme(model, 32, ["embed"]))
    share = bytes_of(kept) / bytes_of(model)
    assert kept_in_8_bits(model, 32, costs, share) == ("embed",)
    assert kept_in_8_bits(model, 32, costs, share - 1e-6) == ()


def bytes_of(model):
    tensors = {t.data_ptr(): t for t in [*model.parameters(), *model.state_dict().values()]}
    return sum(t.nbytes for t in tensors.values())
