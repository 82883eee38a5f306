"""Which of embedding and head the 4-bit package keeps in 8 bits: those where 4 bits cost most."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minigpt.model.gpt import GPT
from minigpt.quantization.config import LayerScheme, Scheme
from minigpt.quantization.swap import TABLES, quantize


@torch.no_grad()
def table_costs(model: GPT, group_size: int, ids: Tensor) -> dict[str, float]:
    """For embedding and head, how far 4 bits of it alone move the predictions over (B, T) `ids`.

    That is the mean Kullback-Leibler divergence from the model's predictions, in nats a token: of
    what is lost, far surer on little text than the loss itself. A tied table has one cost.
    """
    four = LayerScheme(bits=4, group_size=group_size)
    tables = [tuple(sorted(TABLES))] if model.config.tied else [(name,) for name in sorted(TABLES)]
    rounded = {
        names[0]: quantize(model, Scheme(kind="int4", layers=dict.fromkeys(names, four)))
        for names in tables
    }
    costs = dict.fromkeys(rounded, 0.0)
    for row in ids:
        expected = F.log_softmax(model(row[None]), -1).flatten(0, 1)
        for name, other in rounded.items():
            given = F.log_softmax(other(row[None]), -1).flatten(0, 1)
            divergence = F.kl_div(given, expected, reduction="batchmean", log_target=True)
            costs[name] += float(divergence) / len(ids)
    return costs


def kept_in_8_bits(
    model: GPT, group_size: int, costs: Mapping[str, float], share: float
) -> tuple[str, ...]:
    """Names of `costs`, the highest for its size first, as far as the whole stays small enough.

    Args:
        model: the original, in fp32.
        group_size: of all that is in 4 bits.
        costs: as `table_costs` gives them.
        share: largest size of the result, 1 being the original's.
    """
    four, eight = LayerScheme(bits=4, group_size=group_size), LayerScheme(bits=8)
    total = sum(4 * weight.numel() for weight in model.parameters())
    matrices = {
        layer.weight: layer.weight.shape  # a tied table once
        for layer in model.modules()
        if isinstance(layer, nn.Linear | nn.Embedding) and getattr(layer, "bias", None) is None
    }
    size = total - sum(4 * m.numel() - four.bytes(*shape) for m, shape in matrices.items())
    shapes = {name: model.get_parameter(f"{name}.weight").shape for name in costs}
    extra = {name: eight.bytes(*shape) - four.bytes(*shape) for name, shape in shapes.items()}
    kept = []
    for name in sorted(costs, key=lambda name: -costs[name] / extra[name]):
        if size + extra[name] <= share * total:
            size += extra[name]
            kept.append(name)
    return tuple(kept)
