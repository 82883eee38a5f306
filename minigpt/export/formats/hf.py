"""A folder that `transformers` loads with no code of ours: Qwen3ForCausalLM and its tokenizer.

vLLM, SGLang, llama.cpp's converter and MLX read the same folder.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from minigpt.export.config import ExportConfig
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.names import translate
from minigpt.export.verify import Decoder
from minigpt.extras import require
from minigpt.files import write_bytes, write_json
from minigpt.model.config import RmsNorm, SwigluMlp
from minigpt.model.positions.rope import RopePosition
from minigpt.package import Package
from minigpt.tokenizer.patterns import END_OF_TEXT, PAD

WEIGHTS = "model.safetensors"
QK_NORM_EPS = 1e-6  # ours is fixed; Qwen3 has one number for all of its norms
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


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Fill `out` with weights, config.json, generation_config.json and tokenizer_config.json."""
    del config  # nothing to choose
    weights = plain_model(package).state_dict()
    if package.config.tied:
        del weights["head.weight"]
    names = translate(weights, QWEN3, "hf")
    data = save(
        {names[name]: tensor.contiguous() for name, tensor in weights.items()},
        metadata={"format": "pt"},  # transformers refuses a file without it; one key: stable bytes
    )
    write_bytes(out / WEIGHTS, data)
    write_json(out / "config.json", qwen3_config(package))
    eot = package.tokenizer.eot_id
    write_json(
        out / "generation_config.json",
        {"bos_token_id": eot, "do_sample": True, "eos_token_id": eot, "temperature": 0.8},
    )
    write_json(out / "tokenizer_config.json", tokenizer_config(package))


def refuses(package: Package) -> Sequence[str]:
    """Each choice that Qwen3ForCausalLM has no word for."""
    config = package.config
    strange = [
        f"{part}: {choice.kind}"
        for part, choice, known in (
            ("norm", config.norm, RmsNorm),
            ("position", config.position, RopePosition),
            ("mlp", config.mlp, SwigluMlp),
        )
        if not isinstance(choice, known)
    ]
    if config.norm.eps != QK_NORM_EPS:
        strange.append(f"norm: eps {config.norm.eps} (its queries and keys have {QK_NORM_EPS})")
    return [f"Qwen3ForCausalLM has no {', '.join(strange)}"] if strange else []


def decode(weights: Path, threads: int) -> Decoder:
    """The folder around `weights` as `transformers` runs it; nothing is fetched."""
    del threads  # torch's, which the stage has set
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    transformers = require("transformers")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(weights.parent, local_files_only=True)
    model.eval()

    def step(ids: Tensor, past: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        # As `generate` does: positions count tokens, not padding.
        positions = None if mask is None else (mask.cumsum(1) - 1).clamp_min(0)[:, -ids.size(1) :]
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            cache=past,
            use_cache=True,
        )
        return out.logits, out.cache

    return step


def special_ids(package: Package) -> dict[str, int]:
    """Ids of the tokens that begin, end and fill a text; ours stands before each document."""
    tokenizer = package.tokenizer
    eot = tokenizer.eot_id
    return {
        "bos_token_id": eot,
        "eos_token_id": eot,
        "pad_token_id": tokenizer.specials[PAD],
    }


def qwen3_config(package: Package) -> dict[str, Any]:
    """config.json; rope_theta twice, for transformers 4 and 5."""
    config, tokenizer = package.config, package.tokenizer
    theta = config.position.theta if isinstance(config.position, RopePosition) else 0.0
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.eot_id,  # ours stands before each document, and so after each
        "dtype": "float32",
        "eos_token_id": tokenizer.eot_id,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.context_length,
        "model_type": "qwen3",
        "num_attention_heads": config.n_head,
        "num_hidden_layers": config.n_layer,
        "num_key_value_heads": config.n_kv_head,
        "rms_norm_eps": config.norm.eps,
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "rope_theta": theta,
        "tie_word_embeddings": config.tied,
        "torch_dtype": "float32",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": tokenizer.vocab_size,
    }


def tokenizer_config(package: Package) -> dict[str, Any]:
    """tokenizer_config.json: the generic tokenizer, so that ids are those of tokenizer.json."""
    return {
        "additional_special_tokens": [
            s for s in package.tokenizer.specials if s not in (END_OF_TEXT, PAD)
        ],
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "model_max_length": package.config.context_length,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


ENTRY = Exporter("hf", write, models=(ExportedModel("hf", WEIGHTS, decode),), refuses=refuses)
