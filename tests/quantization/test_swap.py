"""Models with quantized layers."""

import pytest
import torch

from minigpt.errors import PackageError, ParamsError
from minigpt.model.config import GeluMlp
from minigpt.model.count import columns
from minigpt.model.positions.learned import LearnedPosition
from minigpt.quantization.error import layer_errors
from minigpt.quantization.swap import int4_scheme, int8_scheme, quantize, quantize_structure
from tests.quantization.tiny_model import SIZES, tiny

IDS = torch.arange(20).view(2, 10)
SCHEMES = {"int8": int8_scheme, "int4": lambda model: int4_scheme(model, 32, ["embed", "head"])}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", SCHEMES)
def test_a_loaded_structure_gives_the_logits_of_the_quantized_model(kind, bias):
    config = SIZES.replace(bias=bias)
    model = tiny(config)
    scheme = SCHEMES[kind](model)
    quantized = quantize(model, scheme)
    empty = tiny(config).requires_grad_(False)
    for name, weight in empty.named_parameters():
        if name.endswith(".bias"):
            weight.zero_()
    loaded = quantize_structure(empty, scheme.model_dump(mode="json"))
    loaded.load_state_dict(quantized.state_dict())
    assert torch.equal(loaded(IDS), quantized(IDS))


@pytest.mark.parametrize(("kind", "tolerance"), [("int8", 0.03), ("int4", 0.3)])
def test_quantized_logits_are_near_the_originals(kind, tolerance):
    model = tiny()
    quantized = quantize(model, SCHEMES[kind](model))
    difference = (quantized(IDS) - model(IDS)).norm() / model(IDS).norm()
    # Rounding moves a weight by about 0.5 % (int8) or 7 % (int4); a few layers add up.
    assert 0 < difference < tolerance


def test_quantizing_leaves_the_original_alone():
    model = tiny()
    before = model(IDS)
    quantize(model, int8_scheme(model))
    assert torch.equal(model(IDS), before)


@pytest.mark.parametrize("bias", [False, True])
def test_every_matrix_is_quantized_and_nothing_else(bias):
    model = tiny(SIZES.replace(bias=bias))
    state = quantize(model, int8_scheme(model)).state_dict()
    floats = [name for name, tensor in state.items() if tensor.dtype == torch.float32]
    assert floats
    assert all("norm" in name or name.endswith(".bias") for name in floats)
    assert any(name.endswith(".bias") for name in floats) == bias


@pytest.mark.parametrize(
    "changes",
    [
        {"head_dim": 48},
        {"mlp": GeluMlp()},
        {"tied": True, "embedding_norm": False},
        {"bias": True},
    ],
)
def test_the_columns_known_without_a_model_are_those_of_its_layers(changes):
    config = SIZES.replace(**changes)
    layers = dict(tiny(config).named_modules())
    widths = {name: layers[name].weight.size(1) for name in int8_scheme(tiny(config)).layers}
    assert columns(config) == widths


def test_a_tied_table_stays_one():
    model = tiny(SIZES.replace(tied=True, embedding_norm=False))
    for scheme in (int8_scheme(model), int4_scheme(model, 32), int4_scheme(model, 32, ["head"])):
        quantized = quantize(model, scheme, IDS)
        assert quantized.head.codes is quantized.embed.codes
        assert scheme.layers["head"] == scheme.layers["embed"]
        # 0.3: as of any model in 4 bits, below.
        assert (quantized(IDS) - model(IDS)).norm() < 0.3 * model(IDS).norm()


def test_a_tied_table_with_two_schemes_is_refused():
    model = tiny(SIZES.replace(tied=True, embedding_norm=False))
    with pytest.raises(PackageError, match="embed and head are one table"):
        quantize_structure(model, {"kind": "int8", "layers": {"head": {"bits": 8}}})


def test_layers_without_a_matrix_of_their_own_keep_their_floats():
    model = tiny(SIZES.replace(position=LearnedPosition()))
    assert "position.weight" in quantize(model, int8_scheme(model)).state_dict()


def test_layer_errors_grow_with_fewer_bits():
    model = tiny()
    eight = layer_errors(model, quantize(model, SCHEMES["int8"](model)), IDS)
    four = layer_errors(model, quantize(model, SCHEMES["int4"](model)), IDS)
    assert eight.keys() == four.keys()
    assert all(four[name] > 5 * eight[name] for name in eight if name.startswith("blocks"))
    assert four["head"] == eight["head"]


def test_a_group_that_does_not_divide_a_row_is_refused():
    with pytest.raises(ParamsError, match=r"64 does not divide the 96 columns of blocks\.0"):
        int4_scheme(tiny(), 64)


def test_an_unknown_layer_name_is_refused():
    with pytest.raises(ParamsError, match=r"no layer \['lm_head'\]"):
        int4_scheme(tiny(), 32, ["lm_head"])


@pytest.mark.parametrize(
    "layers",
    [
        {"nowhere": {"bits": 8}},
        {"norm": {"bits": 8}},
        {"head": {"bits": 4}},
        {"head": {"bits": 2}},
        "head",
    ],
)
def test_a_scheme_that_does_not_fit_is_refused(layers):
    with pytest.raises(PackageError, match=r"model\.json: quantization"):
        quantize_structure(tiny(), {"kind": "int8", "layers": layers})
