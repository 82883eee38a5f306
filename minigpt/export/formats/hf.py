"""A folder that `transformers` loads with no code of ours: a class that it has, and its tokenizer.

vLLM, SGLang and MLX read the same folder. llama.cpp's converter does not: it knows tokenizers by
the ids they give to one text, so no new one is known to it. For llama.cpp there is the format gguf.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from minigpt.export import dialects
from minigpt.export.config import ExportConfig
from minigpt.export.dialects import Dialect, fitting, joined, refusals, weights_of
from minigpt.export.exporter import ExportedModel, Exporter
from minigpt.export.verify import Decoder
from minigpt.extras import require
from minigpt.files import write_bytes, write_json
from minigpt.model.positions.rope import RopePosition
from minigpt.package import Package
from minigpt.tokenizer.patterns import END_OF_TEXT, PAD

WEIGHTS = "model.safetensors"
LLAMA = {
    "embed": "model.embed_tokens",
    "norm": "model.norm",
    "head": "lm_head",
    "blocks.*.norm1": "model.layers.*.input_layernorm",
    "blocks.*.attention.q": "model.layers.*.self_attn.q_proj",
    "blocks.*.attention.k": "model.layers.*.self_attn.k_proj",
    "blocks.*.attention.v": "model.layers.*.self_attn.v_proj",
    "blocks.*.attention.out": "model.layers.*.self_attn.o_proj",
    "blocks.*.norm2": "model.layers.*.post_attention_layernorm",
    "blocks.*.mlp.gate": "model.layers.*.mlp.gate_proj",
    "blocks.*.mlp.up": "model.layers.*.mlp.up_proj",
    "blocks.*.mlp.down": "model.layers.*.mlp.down_proj",
}
"""Our modules -> those of LlamaForCausalLM; * stands for the layer's number."""
QWEN3 = LLAMA | {
    "blocks.*.attention.q_norm": "model.layers.*.self_attn.q_norm",
    "blocks.*.attention.k_norm": "model.layers.*.self_attn.k_norm",
}
GPT2 = {
    "embed": "transformer.wte",
    "position": "transformer.wpe",
    "norm": "transformer.ln_f",
    "head": "lm_head",
    "blocks.*.norm1": "transformer.h.*.ln_1",
    **dict.fromkeys(
        [f"blocks.*.attention.{part}" for part in "qkv"], "transformer.h.*.attn.c_attn"
    ),
    "blocks.*.attention.out": "transformer.h.*.attn.c_proj",
    "blocks.*.norm2": "transformer.h.*.ln_2",
    "blocks.*.mlp.up": "transformer.h.*.mlp.c_fc",
    "blocks.*.mlp.down": "transformer.h.*.mlp.c_proj",
}
EXAMPLE = '''"""Continue a text with transformers: python example.py "My fellow citizens"."""

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

folder = Path(__file__).parent
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
new = min(64, tokenizer.model_max_length // 2)
longest = tokenizer.model_max_length - new
inputs = tokenizer(sys.argv[1], return_tensors="pt", truncation=True, max_length=longest)
written = model.generate(**inputs, max_new_tokens=new)
print(tokenizer.decode(written[0], skip_special_tokens=True))
'''
NAMES = {"qwen3": QWEN3, "llama": LLAMA, "gpt2": GPT2}


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Fill `out` with weights, config.json, generation_config.json and tokenizer_config.json."""
    del config  # nothing to choose
    dialect, *_ = fitting(package.config)
    weights = joined(weights_of(package, dialect), NAMES[dialect.model_type], "hf")
    if dialect is dialects.GPT2:  # it keeps matrices as (columns, rows), tables as everyone does
        weights = {
            name: tensor.t().contiguous() if ".h." in name and tensor.dim() == 2 else tensor
            for name, tensor in weights.items()
        }
    # transformers refuses a file without metadata; one key: stable bytes
    write_bytes(out / WEIGHTS, save(weights, metadata={"format": "pt"}))
    write_json(out / "config.json", model_config(package, dialect))
    write_json(out / "generation_config.json", generation_config(package))
    write_json(out / "tokenizer_config.json", tokenizer_config(package))


def refuses(package: Package) -> Sequence[str]:
    """What each class lacks, where none fits."""
    return refusals(package.config, lambda dialect: dialect.model_class)


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


def model_config(package: Package, dialect: Dialect) -> dict[str, Any]:
    """config.json."""
    values = gpt2_config(package) if dialect is dialects.GPT2 else llama_config(package)
    if dialect is dialects.LLAMA:
        values |= {"attention_bias": package.config.bias, "mlp_bias": package.config.bias}
    return (
        special_ids(package)
        | values
        | {
            "architectures": [dialect.model_class],
            "dtype": "float32",
            "model_type": dialect.model_type,
            "tie_word_embeddings": package.config.tied,
            "torch_dtype": "float32",  # for transformers 4
            "use_cache": True,
            "vocab_size": package.tokenizer.vocab_size,
        }
    )


def llama_config(package: Package) -> dict[str, Any]:
    """What Llama and Qwen3 have words for; rope_theta twice, for transformers 4 and 5."""
    config = package.config
    theta = config.position.theta if isinstance(config.position, RopePosition) else 0.0
    return {
        "attention_bias": False,
        "attention_dropout": 0.0,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "hidden_size": config.n_embd,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.context_length,
        "num_attention_heads": config.n_head,
        "num_hidden_layers": config.n_layer,
        "num_key_value_heads": config.n_kv_head,
        "rms_norm_eps": config.norm.eps,
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "rope_theta": theta,
    }


def gpt2_config(package: Package) -> dict[str, Any]:
    """What GPT-2 has words for."""
    config = package.config
    return {
        "activation_function": "gelu_new",  # the tanh form
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "layer_norm_epsilon": config.norm.eps,
        "n_embd": config.n_embd,
        "n_head": config.n_head,
        "n_inner": config.mlp_dim,
        "n_layer": config.n_layer,
        "n_positions": config.context_length,
        "resid_pdrop": 0.0,
    }


def generation_config(package: Package) -> dict[str, Any]:
    """generation_config.json: the likeliest token each time, and never a reserved one."""
    ids = special_ids(package)
    reserved = sorted(set(package.tokenizer.specials.values()) - {ids["eos_token_id"]})
    return ids | {"do_sample": False, "suppress_tokens": reserved}


def tokenizer_config(package: Package) -> dict[str, Any]:
    """tokenizer_config.json: the generic tokenizer, so that ids are those of tokenizer.json."""
    return {
        "additional_special_tokens": [
            s for s in package.tokenizer.specials if s not in (END_OF_TEXT, PAD)
        ],
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": package.config.context_length,
        "pad_token": PAD,
        "padding_side": "left",  # what is written follows the prompt, not the padding
        "tokenizer_class": "PreTrainedTokenizerFast",
        "truncation_side": "left",  # and follows its end
    }


ENTRY = Exporter(
    "hf",
    write,
    models=(ExportedModel("hf", WEIGHTS, decode),),
    example=EXAMPLE,
    beyond="GPT-2 fails; Qwen3 and Llama warn and write nonsense",
    refuses=refuses,
)
