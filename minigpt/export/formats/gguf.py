"""GGUF, for llama.cpp and what is built on it: fp32, and rounded to 8 and to 4 bits.

llama.cpp comes without wheels, so that the stage reads the files back with the gguf package and
runs our model on what they hold, hyperparameters included; `make prove` builds llama.cpp and asks
it.
"""

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.dialects import (
    DIALECTS,
    GPT2,
    LLAMA,
    Dialect,
    fitting,
    joined,
    refusals,
    weights_of,
)
from minigpt.export.exporter import TOKENIZER, ExportedModel, Exporter
from minigpt.export.names import translate
from minigpt.export.verify import Decoder, torch_decoder
from minigpt.extras import require
from minigpt.model.build import empty_model
from minigpt.model.config import ModelConfig, RmsNorm
from minigpt.model.gpt import GPT
from minigpt.model.positions.rope import RopePosition
from minigpt.package import Package
from minigpt.quantization.int4 import to_int4
from minigpt.quantization.scale import best_scale, encode
from minigpt.tokenizer.patterns import END_OF_TEXT, PAD, PATTERNS

FP32, Q8, Q4 = "model-F32.gguf", "model-Q8_0.gguf", "model-Q4_0.gguf"
GROUP = 32
"""Neighbouring weights of a row that share one scale, in both kinds of rounding."""
NAMES = {
    "embed": "token_embd",
    "position": "position_embd",
    "norm": "output_norm",
    "head": "output",
    "blocks.*.norm1": "blk.*.attn_norm",
    "blocks.*.attention.q": "blk.*.attn_q",
    "blocks.*.attention.k": "blk.*.attn_k",
    "blocks.*.attention.v": "blk.*.attn_v",
    "blocks.*.attention.q_norm": "blk.*.attn_q_norm",
    "blocks.*.attention.k_norm": "blk.*.attn_k_norm",
    "blocks.*.attention.out": "blk.*.attn_output",
    "blocks.*.norm2": "blk.*.ffn_norm",
    "blocks.*.mlp.gate": "blk.*.ffn_gate",
    "blocks.*.mlp.up": "blk.*.ffn_up",
    "blocks.*.mlp.down": "blk.*.ffn_down",
}
"""Our modules -> llama.cpp's; * stands for the layer's number."""
GPT2_NAMES = NAMES | dict.fromkeys([f"blocks.*.attention.{x}" for x in "qkv"], "blk.*.attn_qkv")
PRE_TOKENIZERS = {"qwen2": "qwen2", "gpt2": "gpt-2", "gpt4": "smaug-bpe"}
"""Our patterns -> the names that llama.cpp knows them by. It knows no pattern but by name."""
EXAMPLE = '''"""Continue a text with llama.cpp: python example.py "My fellow citizens".

Quicker, in 8 bits: python example.py "My fellow citizens" model-Q8_0.gguf
"""

import sys
from pathlib import Path

from llama_cpp import Llama

file = sys.argv[2] if sys.argv[2:] else "model-F32.gguf"
model = Llama(str(Path(__file__).parent / file), n_ctx=0, verbose=False)
context = int(model.metadata[model.metadata["general.architecture"] + ".context_length"])
new = min(64, context // 2)
ids = model.tokenize(sys.argv[1].encode())[new - context :]
written = model.create_completion(ids, max_tokens=new, temperature=0, repeat_penalty=1)
print(model.detokenize(ids).decode() + written["choices"][0]["text"])
'''
INT8_IN_Q4 = ("token_embd.weight", "output.weight")
"""Where an error reaches every token; llama.cpp's own tool keeps more bits there too."""


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Fill `out` with a file for each number of bits."""
    del config  # nothing to choose
    gguf = require("gguf")
    dialect, *_ = fitting(package.config)
    weights = weights_of(package, dialect)
    if dialect is LLAMA:
        weights = {
            name: with_pairs(name, tensor, package.config) for name, tensor in weights.items()
        }
    tensors = joined(weights, names_of(dialect), "gguf")
    kinds = gguf.GGMLQuantizationType
    types = gguf.LlamaFileType
    for file, kind, file_type in (
        (FP32, kinds.F32, types.ALL_F32),
        (Q8, kinds.Q8_0, types.MOSTLY_Q8_0),
        (Q4, kinds.Q4_0, types.MOSTLY_Q4_0),
    ):
        with contextlib.closing(gguf.GGUFWriter(out / file, dialect.model_type)) as writer:
            add_sizes(writer, package.config)
            add_tokenizer(writer, package)
            writer.add_file_type(file_type)
            writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
            for name, tensor in tensors.items():
                chosen = kinds[kind_for(name, tensor, kind.name)]
                writer.add_tensor(name, rounded(tensor, chosen.name), raw_dtype=chosen)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()


def refuses(package: Package) -> Sequence[str]:
    """What each architecture lacks, where none fits, and a pattern that has no name there."""
    pattern = pattern_of(package)
    reasons = list(refusals(package.config, lambda dialect: dialect.model_type))
    if pattern not in PRE_TOKENIZERS:
        reasons.append(
            f"llama.cpp knows how a text is cut by name only, and has none for tokenizer.pattern: "
            f"{pattern} (it has for {', '.join(PRE_TOKENIZERS)})"
        )
    return reasons


def pattern_of(package: Package) -> str:
    """Our name of the tokenizer's pattern."""
    wanted = package.tokenizer.pattern
    return next((name for name, text in PATTERNS.items() if text == wanted), wanted)


def names_of(dialect: Dialect) -> Mapping[str, str]:
    """GPT-2 keeps queries, keys and values in one matrix."""
    return GPT2_NAMES if dialect is GPT2 else NAMES


def with_pairs(name: str, tensor: Tensor, config: ModelConfig, *, undo: bool = False) -> Tensor:
    """Rows of queries and keys in the order in which llama.cpp's `llama` rotates them.

    Its pairs are (2i, 2i + 1), ours and transformers' (i, i + D/2).
    """
    part = name.split(".")[-2]
    if part not in ("q", "k"):
        return tensor
    heads = config.n_head if part == "q" else config.n_kv_head
    half = config.head_width // 2
    shape = (heads, half, 2) if undo else (heads, 2, half)
    return tensor.view(*shape, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)


def kind_for(name: str, tensor: Tensor, wanted: str) -> str:
    """How a tensor is held in a file of the kind `wanted`."""
    if tensor.dim() < 2 or name == "position_embd.weight" or tensor.size(1) % GROUP:
        return "F32"
    return "Q8_0" if wanted == "Q4_0" and name in INT8_IN_Q4 else wanted


def rounded(tensor: Tensor, kind: str) -> "np.ndarray[Any, Any]":
    """(rows, columns) as a file holds them; rounded ones are bytes, GROUP weights a block.

    A block of Q8_0 is an fp16 scale and 32 codes. One of Q4_0 is a scale and 16 bytes: the codes of
    the first half low, those of the second high; 8 stands for zero.
    """
    if kind == "F32":
        return tensor.numpy()
    rows = len(tensor)
    if kind == "Q8_0":
        groups = tensor.view(rows, -1, GROUP)
        scale = best_scale(groups, -127, 127)  # (rows, groups, 1)
        codes = encode(groups, scale, -127, 127).to(torch.int8).view(torch.uint8)
    else:
        packed, scale = to_int4(tensor, GROUP)  # neighbours share a byte there
        both = torch.stack((packed & 15, packed >> 4), -1).view(rows, -1, 2, GROUP // 2)
        codes, scale = both[:, :, 0] | both[:, :, 1] << 4, scale.unsqueeze(-1)
    blocks = torch.cat((scale.contiguous().view(torch.uint8), codes), -1)
    return blocks.view(rows, -1).numpy()


def add_sizes(writer: Any, config: ModelConfig) -> None:
    """Hyperparameters."""
    writer.add_context_length(config.context_length)
    writer.add_embedding_length(config.n_embd)
    writer.add_block_count(config.n_layer)
    writer.add_feed_forward_length(config.mlp_dim)
    writer.add_head_count(config.n_head)
    writer.add_head_count_kv(config.n_kv_head)
    writer.add_key_length(config.head_width)
    writer.add_value_length(config.head_width)
    if isinstance(config.norm, RmsNorm):
        writer.add_layer_norm_rms_eps(config.norm.eps)
    else:
        writer.add_layer_norm_eps(config.norm.eps)
    if isinstance(config.position, RopePosition):
        writer.add_rope_dimension_count(config.head_width)
        writer.add_rope_freq_base(config.position.theta)


def add_tokenizer(writer: Any, package: Package) -> None:
    """Tokens in GPT-2's letters, merges, and <|endoftext|> in front of each text."""
    types = require("gguf").TokenType
    tokenizer = package.tokenizer
    described = json.loads(tokenizer.files[TOKENIZER])
    tokens, normal = tokens_of(described), len(described["model"]["vocab"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZERS[pattern_of(package)])
    writer.add_vocab_size(tokenizer.vocab_size)
    writer.add_token_list(tokens)
    writer.add_token_types([types.NORMAL] * normal + [types.CONTROL] * (len(tokens) - normal))
    writer.add_token_merges(described["model"]["merges"])
    writer.add_bos_token_id(tokenizer.eot_id)
    writer.add_eos_token_id(tokenizer.eot_id)
    writer.add_eot_token_id(tokenizer.eot_id)  # else <|end|> may be taken for it
    writer.add_pad_token_id(tokenizer.specials[PAD])
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def tokens_of(described: Mapping[str, Any]) -> list[str]:
    """The tokens of a tokenizer.json, by id; the special ones stand behind."""
    ids = described["model"]["vocab"] | {t["content"]: t["id"] for t in described["added_tokens"]}
    return sorted(ids, key=ids.__getitem__)


def refuse_another_tokenizer(file: Path, values: Mapping[str, Any]) -> None:
    """Raise an ExportError where llama.cpp would not read a text as tokenizer.json does."""
    described = json.loads((file.parent / TOKENIZER).read_text(encoding="utf-8"))
    opening = described["post_processor"]["special_tokens"][END_OF_TEXT]["ids"]
    expected = {
        "tokens": tokens_of(described),
        "merges": described["model"]["merges"],
        "bos_token_id": opening[0],
        "add_bos_token": True,
    }
    if wrong := [
        key for key, value in expected.items() if values[f"tokenizer.ggml.{key}"] != value
    ]:
        raise ExportError(f"gguf: {file.name} and {TOKENIZER} differ in {', '.join(wrong)}")


def decode(file: Path, threads: int) -> Decoder:
    """Our model, made of nothing but what a file holds."""
    del threads  # torch's, which the stage has set
    gguf = require("gguf")
    reader = gguf.GGUFReader(file)
    values = {name: field.contents() for name, field in reader.fields.items()}
    refuse_another_tokenizer(file, values)
    tensors = {
        tensor.name: torch.from_numpy(gguf.dequantize(np.array(tensor.data), tensor.tensor_type))
        for tensor in reader.tensors
    }
    return torch_decoder(model_in(values, tensors).eval())


def model_in(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> GPT:
    """The model that metadata and tensors describe."""
    dialect = DIALECTS[values["general.architecture"]]
    sizes = {
        key.removeprefix(f"{dialect.model_type}."): value
        for key, value in values.items()
        if key.startswith(f"{dialect.model_type}.")
    }
    rms = "rms_" if dialect.norm is RmsNorm else ""
    theta = {"theta": sizes["rope.freq_base"]} if dialect.position is RopePosition else {}
    config = ModelConfig(
        n_layer=sizes["block_count"],
        n_embd=sizes["embedding_length"],
        head_dim=sizes["attention.key_length"],
        n_head=sizes["attention.head_count"],
        n_kv_head=sizes["attention.head_count_kv"],
        mlp_dim=sizes["feed_forward_length"],
        context_length=sizes["context_length"],
        tied="output.weight" not in tensors,
        embedding_norm=False,
        qk_norm=dialect.qk_norm,
        bias="blk.0.attn_output.bias" in tensors,
        norm=dialect.norm(eps=sizes[f"attention.layer_norm_{rms}epsilon"]),
        position=dialect.position(**theta),
        mlp=dialect.mlp(),
    )
    with torch.random.fork_rng(devices=[]):  # building draws numbers that nobody needs
        model = empty_model(config, sizes["vocab_size"])
    state = model.state_dict()
    if config.tied:
        del state["head.weight"]
    rest, weights = dict(tensors), {}
    for ours, theirs in translate(state, names_of(dialect), "gguf").items():
        rows = len(state[ours])
        weights[ours], rest[theirs] = rest[theirs][:rows], rest[theirs][rows:]
        if dialect is LLAMA:
            weights[ours] = with_pairs(ours, weights[ours], config, undo=True)
    if config.tied:
        weights["head.weight"] = weights["embed.weight"]
    model.load_state_dict(weights)
    return model


ENTRY = Exporter(
    "gguf",
    write,
    models=(
        ExportedModel("gguf", FP32, decode),
        ExportedModel("gguf_q8_0", Q8, decode, exact=False),
        ExportedModel("gguf_q4_0", Q4, decode, exact=False),
    ),
    example=EXAMPLE,
    beyond="llama.cpp goes on to the next multiple of 256, or to n_ctx, and writes nonsense",
    refuses=refuses,
)
