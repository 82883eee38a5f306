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
        distance = (rounded[name](inputs) - output).norm() / output.norm().clamp_min(1e-30)
        errors[name] = float(distance)

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
