"""Which layers get how many bits (a scheme), and the swap itself.

A table that is both embedding and head (`tied`) is one matrix: both layers have its scheme, and the
head the embedding's codes.
"""

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

from pydantic import ValidationError
from torch import Tensor, nn

from minigpt.errors import PackageError, ParamsError
from minigpt.model.gpt import GPT
from minigpt.quantization.config import LayerScheme, Scheme
from minigpt.quantization.gptq import calibrate
from minigpt.quantization.layers import QuantizedEmbedding, QuantizedLinear, QuantizedWeight

TABLES = frozenset({"embed", "head"})
"""The layers with a row a token."""


def int8_scheme(model: nn.Module) -> Scheme:
    """Every Linear and Embedding in 8 bits."""
    return Scheme(kind="int8", layers=dict.fromkeys(_swappable(model), LayerScheme(bits=8)))


def int4_scheme(model: nn.Module, group_size: int, int8: Collection[str] = ()) -> Scheme:
    """Every Linear and Embedding in 4-bit groups, but for the layers named in `int8`.

    Raises:
        ParamsError: a row cannot be cut into groups of this size, or `int8` names no layer.
    """
    layers = _swappable(model)
    if unknown := sorted(set(int8) - layers.keys()):
        raise ParamsError(f"params.yaml: quantize.int8_in_int4: no layer {unknown}; {list(layers)}")
    if isinstance(model, GPT) and model.config.tied and TABLES & set(int8):
        int8 = TABLES.union(int8)
    scheme = {}
    for name, layer in layers.items():
        columns = layer.weight.size(1)
        if name in int8:
            scheme[name] = LayerScheme(bits=8)
        elif columns % group_size:
            raise ParamsError(
                f"params.yaml: quantize.int4_group_size: {group_size} does not divide the "
                f"{columns} columns of {name}; choose a divisor, or name it in int8_in_int4"
            )
        else:
            scheme[name] = LayerScheme(bits=4, group_size=group_size)
    return Scheme(kind="int4", layers=scheme)


def quantize_structure(model: GPT, scheme: Scheme | Mapping[str, Any]) -> GPT:
    """Put empty quantized layers where `scheme` says, in place; load_state_dict fills them.

    Raises:
        PackageError: the scheme is not one of ours, or names a layer the model has not.
    """
    try:
        scheme = Scheme.model_validate(scheme)
    except ValidationError as error:
        raise PackageError(f"model.json: quantization: {error.errors()[0]['msg']}") from error
    for name, layer in scheme.layers.items():
        try:
            model.set_submodule(name, _empty(model.get_submodule(name), layer))
        except (AttributeError, TypeError) as error:
            raise PackageError(f"model.json: quantization: layer {name}: {error}") from error
    if model.config.tied and TABLES & scheme.layers.keys():
        if scheme.layers.get("embed") != scheme.layers.get("head"):
            raise PackageError("model.json: quantization: embed and head are one table, tied")
        model.head.codes, model.head.scale = model.embed.codes, model.embed.scale
    return model


def quantize(
    model: GPT,
    scheme: Scheme,
    calibration: Tensor | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> GPT:
    """A quantized copy of `model`, its embedding folded.

    With (B, T) ids as `calibration` the linear layers are rounded to fit what reaches them when the
    model reads these; without, and in the embedding, each weight goes to its nearest code.
    """
    model = copy.deepcopy(model).fold()
    quantized = quantize_structure(copy.deepcopy(model), scheme)
    for name in scheme.layers:
        layer, original = quantized.get_submodule(name), model.get_submodule(name)
        if isinstance(layer, QuantizedLinear) and calibration is not None:
            continue
        if isinstance(layer, QuantizedWeight) and isinstance(original, nn.Linear | nn.Embedding):
            layer.fill(original.weight)
    if calibration is not None:
        calibrate(model, quantized, calibration, progress)
    return quantized


def _swappable(model: nn.Module) -> dict[str, nn.Linear | nn.Embedding]:
    """Linear and Embedding layers by name, in the model's order."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Embedding)
    }


def _empty(layer: nn.Module, scheme: LayerScheme) -> QuantizedWeight:
    if not isinstance(layer, nn.Linear | nn.Embedding):
        raise TypeError(f"{type(layer).__name__} cannot be quantized")
    rows, columns = layer.weight.shape
    if isinstance(layer, nn.Embedding):
        return QuantizedEmbedding(rows, columns, scheme.group_size, layer.weight.device)
    linear = QuantizedLinear(rows, columns, scheme.group_size, layer.weight.device)
    linear.bias = layer.bias
    return linear
