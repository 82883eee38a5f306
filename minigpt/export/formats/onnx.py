"""ONNX with a KV cache: one model.onnx, batch, length and past dynamic, and its int8 variant.

Inputs `input_ids` (B, T) and for each layer N `past_key_values.N.key/value` (B, K, past, D);
outputs `logits` (B, T, V) and `present.N.key/value` (B, K, past + T, D). The first call has past 0.
"""

import contextlib
import io
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
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.verify import Decoder
from minigpt.extras import require
from minigpt.files import write_bytes, write_json
from minigpt.model.cache import GrowingCache
from minigpt.model.gpt import GPT
from minigpt.package import Package

FP32, INT8 = "model.onnx", "model_int8.onnx"
FORMAT = 1
LARGEST = 2**31 - 2**20
"""Bytes of weights that fit in one file: protobuf ends at 2 GiB, and the graph needs some of it."""


class CachedDecoder(nn.Module):
    """The model as a function of ids and past, with no state of its own."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, past: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(B, T), keys and values by turns -> (B, T, V) logits, the same list grown by T."""
        cache = GrowingCache(list(zip(past[::2], past[1::2], strict=True)))
        logits = self.model(input_ids, cache)
        return logits, [tensor for layer in cache.layers for tensor in (layer.k, layer.v)]


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Fill `out` with model.onnx, model_int8.onnx and config.json.

    Raises:
        ExportError: ONNX has no operators for some part of the model.
    """
    model = plain_model(package)
    write_bytes(out / FP32, trace(model, config.opset).SerializeToString(deterministic=True))
    write_bytes(out / INT8, to_int8(out / FP32))
    write_json(
        out / "config.json",
        {
            "format": FORMAT,
            "n_layer": package.config.n_layer,
            "n_kv_head": package.config.n_kv_head,
            "head_dim": package.config.head_width,
            "context_length": package.config.context_length,
            "vocab_size": package.tokenizer.vocab_size,
            "eot_id": package.tokenizer.eot_id,
        },
    )


def refuses(package: Package) -> Sequence[str]:
    """More weights than fit in one file."""
    size = 4 * sum(weight.numel() for weight in package.model.parameters())
    if size <= LARGEST:
        return []
    return [f"{size / 1e9:.1f} GB of weights do not fit in one file (2.1 GB at most)"]


def trace(model: GPT, opset: int) -> Any:
    """An onnx.ModelProto of `model`, free of everything that names this machine or process."""
    require("onnxscript")
    layers = range(model.config.n_layer)
    past = [f"past_key_values.{i}.{part}" for i in layers for part in ("key", "value")]
    present = [f"present.{i}.{part}" for i in layers for part in ("key", "value")]
    # Batch 2 and a past that is not empty: the tracer takes 0 and 1 for constants.
    shape = (2, model.config.n_kv_head, 3, model.config.head_width)
    example = (torch.zeros(2, 2, dtype=torch.long), [torch.zeros(shape) for _ in past])
    dynamic = ({0: "batch", 1: "length"}, [{0: "batch", 2: "past"} for _ in past])
    with quiet():
        try:
            program: Any = torch.onnx.export(
                CachedDecoder(model).eval(),
                example,
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=["input_ids", *past],
                output_names=["logits", *present],
                opset_version=opset,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ExportError(f"onnx: {reason}. Leave onnx out of export.formats.") from error
    return stripped(program.model_proto)


def stripped(model: Any) -> Any:
    """Without stack traces, node metadata and doc strings: they hold paths and change each time."""
    graph = model.graph
    holders = [model, graph]
    for items in (graph.node, graph.initializer, graph.input, graph.output, graph.value_info):
        holders += items
    for holder in holders:
        holder.doc_string = ""
        del holder.metadata_props[:]
    return model


def to_int8(fp32: Path) -> bytes:
    """The dynamic quantization of onnxruntime: 8-bit weights, activations rounded as they come."""
    quantization = require("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder, quiet():
        quantized = Path(folder) / INT8
        quantization.quantize_dynamic(
            fp32,
            quantized,
            op_types_to_quantize=["MatMul", "Gather"],
            per_channel=True,
            # Signed weights overflow in the kernels of x86 processors without VNNI.
            weight_type=quantization.QuantType.QUInt8,
        )
        return quantized.read_bytes()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep other people's progress, advice and deprecations out of the stage's log."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def decode(file: Path, threads: int) -> Decoder:
    """An exported .onnx file as onnxruntime runs it on the CPU."""
    onnxruntime = require("onnxruntime")
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    _, *inputs = session.get_inputs()

    def step(ids: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        if past is None:
            _, heads, _, width = inputs[0].shape
            past = [np.zeros((ids.size(0), heads, 0, width), np.float32)] * len(inputs)
        feeds = {node.name: array for node, array in zip(inputs, past, strict=True)}
        logits, *present = session.run(None, feeds | {"input_ids": ids.contiguous().numpy()})
        return torch.from_numpy(logits), present

    return step


ENTRY = Exporter(
    "onnx",
    write,
    models=(
        ExportedModel("onnx", FP32, decode),
        ExportedModel("onnx_int8", INT8, decode, exact=False),
    ),
    refuses=refuses,
)
