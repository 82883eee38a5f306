"""ONNX graphs as data: without what changes from one writing to the next, in fewer bits, as files.

Shapes: R rows, K columns, N blocks of a row.
"""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt.extras import require
from minigpt.files import write_bytes

CONTRIB = "com.microsoft"
"""The domain of onnxruntime's own operators."""
LARGEST = 2**31 - 2**20
"""Bytes of weights that fit in one file: protobuf ends at 2 GiB, and the graph needs some of it."""
BLOCK = 32
"""Weights of a row that share a scale."""
TABLE_BITS = 8
"""Bits of the embedding and the head, which lose most by rounding."""
ACCURACY = 4
"""Activations are rounded to int8 by blocks of a row, so that rows of a batch stay by themselves.
"""


def tidy(model: Any, opset: int) -> None:
    """Change `model` to words of the standard, with nothing that names a machine or a checkout.

    Stack traces and node metadata hold paths, the producer's version a commit of the folder around.
    """
    model.producer_version = ""
    graph = model.graph
    del graph.value_info[:]  # shapes in between can be inferred, and the builder's are wrong
    holders = [model, graph]
    for items in (graph.node, graph.initializer, graph.input, graph.output):
        holders += items
    for holder in holders:
        holder.doc_string = ""
        del holder.metadata_props[:]
    for node in graph.node:
        if node.op_type == "SimplifiedLayerNormalization" and not node.domain:
            node.op_type = "RMSNormalization"  # its name since opset 23
    for operators in model.opset_import:
        if not operators.domain:
            operators.version = opset


def save(model: Any, file: Path) -> None:
    """Write `model` to `file`, its weights to FILE.data where one file cannot hold them.

    Raises:
        ValueError: it is no valid model.
    """
    onnx = require("onnx")
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= LARGEST:
        write_bytes(file, model.SerializeToString(deterministic=True))
    else:
        data = f"{file.name}.data"
        onnx.external_data_helper.convert_model_to_external_data(model, location=data)
        onnx.external_data_helper.write_external_data_tensors(model, str(file.parent))
        write_bytes(file, model.SerializeToString(deterministic=True))
    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(str(error).strip().splitlines()[0]) from error


def rounded(model: Any, bits: int) -> Any:
    """A copy of `model` with MatMul weights in `bits`, embedding and head in TABLE_BITS."""
    model = copy.deepcopy(model)
    Rounding(model.graph, bits).apply()
    if not any(operators.domain == CONTRIB for operators in model.opset_import):
        model.opset_import.add(domain=CONTRIB, version=1)
    return model


class Rounding:
    """MatMul → MatMulNBits, Gather of the embedding → GatherBlockQuantized, in one graph."""

    def __init__(self, graph: Any, bits: int) -> None:
        self.graph = graph
        self.bits = bits
        self.onnx = require("onnx")
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.transposed: dict[str, str] = {
            node.output[0]: node.input[0]
            for node in graph.node
            if node.op_type == "Transpose" and node.input[0] in self.weights
        }
        """Output → weight: where embedding and head are one, one of them reads it turned."""
        self.rounded: dict[str, Any] = {}

    def apply(self) -> None:
        """Change the graph; what nothing reads any more goes."""
        graph = self.graph
        nodes = [new for node in graph.node for new in self.replaced(node)]
        used = {name for node in nodes for name in node.input}
        nodes = [node for node in nodes if node.output[0] not in self.transposed.keys() - used]
        used = {name for node in nodes for name in node.input}
        tensors = [t for t in graph.initializer if t.name in used] + list(self.rounded.values())
        for items, kept in ((graph.node, nodes), (graph.initializer, tensors)):
            kept = [copy.copy(item) for item in kept]
            del items[:]
            items.extend(kept)

    def replaced(self, node: Any) -> Iterator[Any]:
        """What stands for `node`."""
        if node.op_type == "MatMul" and self.source(node.input[1]) in self.weights:
            yield self.product(node)
        elif node.op_type == "Gather" and node.input[1] == "input_ids":
            yield from self.lookup(node)
        else:
            yield node

    def product(self, node: Any) -> Any:
        """x·W, W (K, R)."""
        bits = TABLE_BITS if node.output[0] == "logits" else self.bits
        values, scales, (R, K) = self.store(node.input[1], bits, by_columns=True)
        return self.onnx.helper.make_node(
            "MatMulNBits",
            [node.input[0], values, scales],
            node.output,
            name=node.name,
            domain=CONTRIB,
            **{"K": K, "N": R, "bits": bits, "block_size": BLOCK, "accuracy_level": ACCURACY},
        )

    def lookup(self, node: Any) -> Iterator[Any]:
        """Rows of a table (R, K)."""
        make = self.onnx.helper.make_node
        values, scales, (R, K) = self.store(node.input[0], TABLE_BITS, by_columns=False)
        padded = self.rounded[scales].dims[1] * BLOCK
        table, rows = f"{values}_rows", node.output[0] if padded == K else f"{values}_padded"
        yield make("Reshape", [values, self.constant(R, padded)], [table])
        yield make(
            "GatherBlockQuantized",
            [table, node.input[1], scales],
            [rows],
            name=node.name,
            domain=CONTRIB,
            **{"bits": TABLE_BITS, "block_size": BLOCK, "gather_axis": 0, "quantize_axis": 1},
        )
        if padded != K:
            ends = [self.constant(end) for end in (0, K, 2)]
            yield make("Slice", [rows, *ends], node.output)

    def source(self, name: str) -> str:
        """The weight that `name` is, or is the transpose of."""
        return self.transposed.get(name, name)

    def store(self, name: str, bits: int, *, by_columns: bool) -> tuple[str, str, tuple[int, int]]:
        """Names of the rounded values and scales of a weight, and its rows and columns (R, K)."""
        source = self.source(name)
        array = self.onnx.numpy_helper.to_array(self.weights[source])
        rows = array.T if by_columns != (name in self.transposed) else array  # (R, K)
        names = f"{source}_{bits}bit", f"{source}_{bits}bit_scales"
        if names[0] not in self.rounded:
            for key, value in zip(names, in_blocks(rows, bits), strict=True):
                self.rounded[key] = self.onnx.numpy_helper.from_array(value, key)
        return *names, rows.shape

    def constant(self, *numbers: int) -> str:
        """The name of a tensor that holds `numbers`."""
        name = f"constant_{'_'.join(map(str, numbers))}"
        self.rounded[name] = self.onnx.numpy_helper.from_array(np.array(numbers, np.int64), name)
        return name


def in_blocks(rows: NDArray[np.float32], bits: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """(R, K) → (R, N, BLOCK · bits / 8) values around 2^(bits - 1) and (R, N) scales.

    The number furthest from 0 in a block is the lowest value, which has no counterpart above: half
    a step better than a scale for both ends, and a scale may be negative.
    """
    R, K = rows.shape
    blocks = np.pad(rows, ((0, 0), (0, -K % BLOCK))).reshape(R, -1, BLOCK)
    furthest = np.abs(blocks).argmax(-1, keepdims=True)
    middle = 2 ** (bits - 1)
    scales = np.take_along_axis(blocks, furthest, -1) / np.float32(-middle)  # (R, N, 1)
    steps = np.rint(blocks / np.where(scales == 0, np.float32(1), scales)) + middle
    values = steps.clip(0, 2 * middle - 1).astype(np.uint8)
    if bits == 4:
        values = values[..., ::2] | values[..., 1::2] << 4
    return values, scales[..., 0]
