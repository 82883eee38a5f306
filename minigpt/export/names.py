"""Our parameter names in other people's words. The only place that knows theirs."""

import re
from collections.abc import Iterable

from minigpt.errors import ExportError

QWEN3 = {
    "embed.weight": "model.embed_tokens.weight",
    "norm.weight": "model.norm.weight",
    "head.weight": "lm_head.weight",
    "blocks.*.norm1.weight": "model.layers.*.input_layernorm.weight",
    "blocks.*.attention.q.weight": "model.layers.*.self_attn.q_proj.weight",
    "blocks.*.attention.k.weight": "model.layers.*.self_attn.k_proj.weight",
    "blocks.*.attention.v.weight": "model.layers.*.self_attn.v_proj.weight",
    "blocks.*.attention.out.weight": "model.layers.*.self_attn.o_proj.weight",
    "blocks.*.attention.q_norm.weight": "model.layers.*.self_attn.q_norm.weight",
    "blocks.*.attention.k_norm.weight": "model.layers.*.self_attn.k_norm.weight",
    "blocks.*.norm2.weight": "model.layers.*.post_attention_layernorm.weight",
    "blocks.*.mlp.gate.weight": "model.layers.*.mlp.gate_proj.weight",
    "blocks.*.mlp.up.weight": "model.layers.*.mlp.up_proj.weight",
    "blocks.*.mlp.down.weight": "model.layers.*.mlp.down_proj.weight",
}
"""Ours -> Qwen3ForCausalLM's; * stands for the layer's number."""


def translate(names: Iterable[str], table: dict[str, str], format: str) -> dict[str, str]:
    """Our names -> theirs.

    Raises:
        ExportError: the format has no word for some of them.
    """
    found, unknown = {}, []
    for name in names:
        number = re.search(r"\.(\d+)\.", name)
        pattern = name if number is None else name.replace(number[0], ".*.", 1)
        if pattern in table:
            found[name] = table[pattern].replace("*", number[1] if number else "")
        else:
            unknown.append(name)
    if unknown:
        raise ExportError(
            f"{format}: no name there for {sorted(unknown)}. "
            f"Leave {format} out of export.formats, or teach export/names.py."
        )
    return found
