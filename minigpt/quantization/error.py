"""How far a quantized model's layers are from the original's."""

import torch
from torch import Tensor

from minigpt.model.gpt import GPT
from minigpt.quantization.layers import QuantizedWeight


@torch.no_grad()
def layer_errors(model: GPT, quantized: GPT, ids: Tensor) -> dict[str, float]:
    """For each quantized layer, |its outputs - the original's| / |the original's| (2-norms).

    Both get what reaches the original's layer when `model` reads (B, T) `ids`.
    """
    errors = {}
    rounded = {
        name: layer
        for name, layer in quantized.named_modules()
        if isinstance(layer, QuantizedWeight)
    }

    def compare(name: str, inputs: Tensor, output: Tensor) -> None:
        errors[name] = relative_error(rounded[name](inputs), output)

    hooks = [
        model.get_submodule(name).register_forward_hook(
            lambda _, inputs, output, name=name: compare(name, inputs[0], output)
        )
        for name in rounded
    ]
    try:
        model(ids)
    finally:
        for hook in hooks:
            hook.remove()
    return errors


def relative_error(tensor: Tensor, expected: Tensor) -> float:
    """|tensor - expected| / |expected| (2-norms): a number even where all that is expected is 0."""
    return float((tensor - expected).norm() / expected.norm().clamp_min(1e-30))
