"""ONNX with a KV cache, in fp32, int8 and int4: a folder for onnxruntime-genai and onnxruntime.

Inputs `input_ids` (B, T), `attention_mask` (B, past + T) and for each layer N
`past_key_values.N.key/value` (B, K, past, D); outputs `logits` (B, T, V) and `present.N.key/value`
(B, K, past + T, D). The first call has past 0. Architectures that the model builder of
onnxruntime-genai knows become its graph of fused operators, all others a traced graph: the fused
one is faster, but a prompt's padding must stand on its right.
"""

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.dialects import fitting
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.formats import hf
from minigpt.export.onnx_graph import rounded, save, tidy
from minigpt.export.verify import Decoder
from minigpt.extras import require, require_silent
from minigpt.files import write_json
from minigpt.model.cache import GrowingCache
from minigpt.model.gpt import GPT
from minigpt.package import Package

FP32 = "model.onnx"
ROUNDED = {8: "model_int8.onnx", 4: "model_int4.onnx"}
"""Bits of the weights → file."""
GENAI_CONFIG = "genai_config.json"
BUILDER = "onnxruntime-genai"
"""What the graphs of its model builder name as their producer."""
BUILT = ("qwen3", "llama")
"""Classes of Hugging Face folders that the builder knows and `hf` writes, by genai_config's type.
"""
FUSED_WIDTH = 8
"""onnxruntime's fused attention takes heads whose width is a multiple of this."""
TRACED = "llama"
"""onnxruntime-genai runs a type of its list only; to it, each of these is a decoder with a cache.
"""
GENAI_TOKENIZER = {"add_bos_token": True, "add_eos_token": False, "padding_side": "right"}
"""For onnxruntime-genai, once told `update_options(add_special_tokens="true")`; by itself its
tokenizer puts nothing in front of a text."""
EXAMPLE = '''"""Continue a text with onnxruntime-genai: python example.py "My fellow citizens".

Quicker, in 8 bits: python example.py "My fellow citizens" model_int8.onnx
"""

import json
import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it tells Microsoft of each session
import onnxruntime_genai as og

file = (sys.argv[2:] or ["model.onnx"])[0]
config = og.Config(os.path.dirname(os.path.abspath(__file__)))
config.overlay(json.dumps({"model": {"decoder": {"filename": file}}}))
tokenizer = og.Tokenizer(model := og.Model(config))
tokenizer.update_options(add_special_tokens="true")
params = og.GeneratorParams(model)
context = int(params.get_search_options()["max_length"])
new = min(64, context // 2)
ids = tokenizer.encode(sys.argv[1])[new - context :]
params.set_search_options(max_length=len(ids) + new)
generator = og.Generator(model, params)
generator.append_tokens(ids)
while not generator.is_done():
    generator.generate_next_token()
print(tokenizer.decode(generator.get_sequence(0)))
'''


class CachedDecoder(nn.Module):
    """The model as a function of ids, mask and past, with no state of its own."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, past: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """(B, T), (B, S), keys and values by turns -> (B, T, V) logits, the list grown by T."""
        layers = list(zip(past[::2], past[1::2], strict=True))
        cache = GrowingCache(layers, attention_mask)
        logits = self.model(input_ids, cache)
        return logits, [tensor for layer in cache.layers for tensor in (layer.k, layer.v)]


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Fill `out` with a graph in each precision, genai_config.json and tokenizer_config.json.

    Raises:
        ExportError: ONNX has no operators for some part of the model.
    """
    kind = kind_of(package)
    model = (
        traced(plain_model(package), config.opset) if kind is None else built(package, out, config)
    )
    tidy(model, config.opset)
    try:
        for bits, file in ROUNDED.items():
            save(rounded(model, bits), out / file)
        save(model, out / FP32)
    except ValueError as error:
        raise ExportError(f"onnx: {error}. Leave onnx out of export.formats.") from error
    write_json(out / GENAI_CONFIG, genai_config(package, kind))
    write_json(out / "tokenizer_config.json", hf.tokenizer_config(package) | GENAI_TOKENIZER)


def kind_of(package: Package) -> str | None:
    """What genai_config calls a model that the builder knows; None: it has to be traced."""
    types = [dialect.model_type for dialect in fitting(package.config)]
    fused = package.config.head_width % FUSED_WIDTH == 0
    return types[0] if fused and types and types[0] in BUILT else None


def refuses(package: Package) -> Sequence[str]:
    """Whether a graph must be traced that has no room for the tokens to trace it over."""
    length = package.config.context_length
    if kind_of(package) is None and length < PAST + NEW:
        return [f"this model must be traced over {PAST + NEW} tokens, but sees at most {length}"]
    return ()


def built(package: Package, out: Path, config: ExportConfig) -> Any:
    """The onnx.ModelProto that the model builder makes; it works in `out`, where there is room."""
    with tempfile.TemporaryDirectory(dir=out) as folder:
        source, target, cache = (str(Path(folder, name)) for name in ("hf", "onnx", "cache"))
        Path(source).mkdir()
        hf.ENTRY.export(package, Path(source), config)
        with quiet():
            builder = require_silent("onnxruntime_genai.models.builder")
            place = (package.path.name, source, target, "fp32", "cpu", cache)
            options = builder.parse_extra_options(*place, ["hf_token=false"])
            builder.create_model(*place, **options)
        return require("onnx").load(Path(target, FP32))


PAST, NEW = 3, 2
"""Tokens of the example that a graph is traced over; the tracer takes 0 and 1 for constants."""


def traced(model: GPT, opset: int) -> Any:
    """An onnx.ModelProto of `model`, as torch writes it."""
    require("onnxscript")
    layers = range(model.config.n_layer)
    past = [f"past_key_values.{i}.{part}" for i in layers for part in ("key", "value")]
    present = [f"present.{i}.{part}" for i in layers for part in ("key", "value")]
    shape = (2, model.config.n_kv_head, PAST, model.config.head_width)
    example = (
        torch.zeros(2, NEW, dtype=torch.long),
        torch.ones(2, PAST + NEW, dtype=torch.long),
        [torch.zeros(shape) for _ in past],
    )
    dynamic = (
        {0: "batch", 1: "length"},
        {0: "batch", 1: "total"},
        [{0: "batch", 2: "past"} for _ in past],
    )
    with quiet():
        try:
            program: Any = torch.onnx.export(
                CachedDecoder(model).eval(),
                example,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=["input_ids", "attention_mask", *past],
                output_names=["logits", *present],
                opset_version=opset,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ExportError(f"onnx: {reason}. Leave onnx out of export.formats.") from error
    return program.model_proto


def genai_config(package: Package, kind: str | None) -> dict[str, Any]:
    """What onnxruntime-genai asks for; it reads FP32 unless told otherwise (`Config.overlay`)."""
    config, tokenizer = package.config, package.tokenizer
    return {
        "model": {
            "type": kind or TRACED,
            "context_length": config.context_length,
            "vocab_size": tokenizer.vocab_size,
            **hf.special_ids(package),
            "decoder": {
                "filename": FP32,
                "session_options": {"log_id": BUILDER, "provider_options": []},
                "head_size": config.head_width,
                "hidden_size": config.n_embd,
                "num_attention_heads": config.n_head,
                "num_hidden_layers": config.n_layer,
                "num_key_value_heads": config.n_kv_head,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "do_sample": False,
            "max_length": config.context_length,
            # Fused attention writes into the cache that it reads.
            "past_present_share_buffer": kind is not None,
        },
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep other people's progress, advice and deprecations out of the stage's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def decode(file: Path, threads: int) -> Decoder:
    """An exported .onnx file as onnxruntime runs it on the CPU."""
    onnxruntime = require_silent("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    _, _, *cache = session.get_inputs()
    right_only = session.get_modelmeta().producer_name == BUILDER
    config = json.loads((file.parent / GENAI_CONFIG).read_text(encoding="utf-8"))
    heads, width = (config["model"]["decoder"][k] for k in ("num_key_value_heads", "head_size"))

    def step(ids: Tensor, past: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        B, T = ids.shape
        if past is None:
            past = [np.zeros((B, heads, 0, width), np.float32)] * len(cache)
        if mask is None:
            mask = torch.ones(B, past[0].shape[2] + T, dtype=torch.long)
        before = (mask[:, -T:].cumsum(1) == 0).sum(1, keepdim=True) * right_only
        places = torch.arange(T)
        # The fused graph asks of a mask how many tokens a row has; what is left of them moves.
        feeds = {
            "input_ids": ids.gather(1, (places + before) % T).numpy(),
            "attention_mask": mask.contiguous().numpy(),
            **{node.name: array for node, array in zip(cache, past, strict=True)},
        }
        array, *present = session.run(None, feeds)
        logits = torch.from_numpy(array)
        rows = torch.arange(B)[:, None]
        return logits[rows, (places - before) % T], present

    return step


ENTRY = Exporter(
    "onnx",
    write,
    models=(
        ExportedModel("onnx", FP32, decode),
        *(
            ExportedModel(f"onnx_int{bits}", file, decode, exact=False)
            for bits, file in ROUNDED.items()
        ),
    ),
    example=EXAMPLE,
    beyond="onnxruntime-genai refuses; onnxruntime fails, but where the model has no table of "
    "positions (alibi, none) it reads on",
    refuses=refuses,
)
