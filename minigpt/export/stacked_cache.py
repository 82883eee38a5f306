"""The model as a function without a state, its whole cache one tensor: what torch's formats hold.

Shapes: B batch, T new positions, P cached, S = P + T, K kv heads, D head width, L layers.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from minigpt.export.verify import Decoder
from minigpt.model.cache import GrowingCache
from minigpt.model.gpt import GPT

EXAMPLE = '''"""Continue a text with {program}: python example.py "My fellow citizens"."""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer

folder = Path(__file__).parent
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
model = {load}
new = min(64, int(model.context_length) // 2)
ids = tokenizer.encode(sys.argv[1]).ids[new - int(model.context_length) :]
step, past = torch.tensor([ids]), model.empty
for _ in range(new):
    mask = torch.ones(1, past.size(4) + step.size(1), dtype=torch.long)
    with torch.no_grad():
        logits, past = model(step, mask, past)
    step = logits[:, -1:].argmax(-1)
    if step == tokenizer.token_to_id("<|endoftext|>"):
        break
    ids.append(int(step))
print(tokenizer.decode(ids))
'''
"""example.py of a format whose `program` gives by `load` a model such as `StackedDecoder`."""


class StackedDecoder(nn.Module):
    """(B, T) input_ids, (B, S) attention_mask, (L, 2, B, K, P, D) past -> logits, past + T.

    What a first call must know lies in its buffers: `empty`, the past of one row without a token,
    and `context_length`.
    """

    empty: Tensor

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model
        config = model.config
        sizes = (config.n_layer, 2, 1, config.n_kv_head, 0, config.head_width)
        self.register_buffer("empty", torch.zeros(sizes))
        self.register_buffer("context_length", torch.tensor(config.context_length))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(B, T, V) logits, (L, 2, B, K, S, D): keys and values of each layer."""
        cache = GrowingCache([(layer[0], layer[1]) for layer in past], attention_mask)
        logits = self.model(input_ids, cache)
        return logits, torch.stack([torch.stack((layer.k, layer.v)) for layer in cache.layers])

    def example(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs to trace with: no size of theirs is 0 or 1, which tracers take for constants."""
        L, _, _, K, _, D = self.empty.shape
        ids, mask = torch.zeros(2, 2, dtype=torch.long), torch.ones(2, 5, dtype=torch.long)
        return ids, mask, torch.zeros(L, 2, 2, K, 3, D)


def decoder(model: Callable[..., tuple[Tensor, Tensor]], empty: Tensor) -> Decoder:
    """`model`, called as `StackedDecoder` is."""

    @torch.no_grad()
    def step(ids: Tensor, past: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        B, T = ids.shape
        if past is None:
            past = empty.expand(-1, -1, B, -1, -1, -1)
        if mask is None:
            mask = torch.ones(B, past.size(4) + T, dtype=torch.long)
        return model(ids, mask, past)

    return step
