"""How far a quantized model is from its original, layer by layer."""

from torch import nn

from minigpt.quantization.layers import QuantizedWeight


def layer_errors(model: nn.Module, quantized: nn.Module) -> dict[str, float]:
    """For each quantized layer, |its weights - the original's| / |the original's| (2-norms)."""
    errors = {}
    for name, layer in quantized.named_modules():
        if isinstance(layer, QuantizedWeight):
            original = model.get_parameter(f"{name}.weight").detach().float()
            distance = (layer.weight - original).norm() / original.norm().clamp_min(1e-30)
            errors[name] = float(distance)
    return errors
