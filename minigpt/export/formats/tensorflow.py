"""TensorFlow SavedModel: the forward pass once more in TensorFlow's operators, with no torch.

Signatures `prefill` (input_ids, attention_mask) and `decode` (the same and past) give `logits` and
`present`, the next call's past; shapes are those of `export.stacked_cache`. Batch, length and past
are free.

Shapes: B batch, T new positions, P cached, S = P + T, C width, H heads, K kv heads, G = H / K,
D head width, L layers, V vocabulary.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from minigpt.export.config import ExportConfig
from minigpt.export.exporter import ExportedModel, Exporter, plain_model
from minigpt.export.verify import Decoder
from minigpt.extras import require
from minigpt.files import write_bytes
from minigpt.model.build import QK_NORM_EPS
from minigpt.model.config import GeluMlp, LayerNorm, RmsNorm, SwigluMlp
from minigpt.model.gpt import GPT
from minigpt.model.positions.alibi import AlibiPosition
from minigpt.model.positions.learned import LearnedPosition
from minigpt.model.positions.none import NoPosition
from minigpt.model.positions.rope import RopePosition
from minigpt.package import Package

FOLDER = "saved_model"
NORMS = (RmsNorm, LayerNorm)
POSITIONS = (RopePosition, AlibiPosition, LearnedPosition, NoPosition)
MLPS = (SwigluMlp, GeluMlp)
COUNTED = re.compile(r"(__inference_\w+?)_\d+\b")
"""A function's name, with the count of all that the process has made."""
NAMED = "_user_specified_name"
UNIQUE = "fingerprint.pb"
"""Holds a random id; what else it holds follows from the other files, and loaders need none."""
EXAMPLE = '''"""Continue a text with TensorFlow: python example.py "My fellow citizens"."""

import sys
from pathlib import Path

import tensorflow as tf
from tokenizers import Tokenizer

folder = Path(__file__).parent
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
model = tf.saved_model.load(str(folder / "saved_model"))
new = min(64, int(model.context_length) // 2)
ids = tokenizer.encode(sys.argv[1]).ids[new - int(model.context_length) :]
answer = model.prefill(tf.constant([ids], tf.int64), tf.ones((1, len(ids)), tf.int64))
for _ in range(new):
    token = tf.argmax(answer["logits"][:, -1:], -1)
    if token == tokenizer.token_to_id("<|endoftext|>"):
        break
    ids.append(int(token[0, 0]))
    mask = tf.ones((1, tf.shape(answer["present"])[4] + 1), tf.int64)
    answer = model.decode(token, mask, answer["present"])
print(tokenizer.decode(ids))
'''


def tensorflow() -> ModuleType:
    """The library, told to keep its start-up to itself and to add up alike on every CPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    return require("tensorflow", extra="tensorflow")


def refuses(package: Package) -> Sequence[str]:
    """Parts that `Forward` does not write.

    Raises:
        MissingExtraError: it writes all, but TensorFlow is not installed.
    """
    config = package.config
    parts = (
        ("norm", config.norm, NORMS),
        ("position", config.position, POSITIONS),
        ("mlp", config.mlp, MLPS),
    )
    unknown = [f"{part}: {c.kind}" for part, c, known in parts if type(c) not in known]
    if unknown:
        return [f"not written in TensorFlow yet: {', '.join(unknown)}"]
    tensorflow()
    return ()


class Forward:
    """`model` in TensorFlow's operators."""

    def __init__(self, model: GPT, tf: Any) -> None:
        self.tf, self.config, self.vocab_size = tf, model.config, model.vocab_size
        tensors = dict(model.named_parameters()) | dict(model.named_buffers())
        self.weights = {
            name: tf.Variable(tensor.detach().numpy(), trainable=False, name=name)
            for name, tensor in sorted(tensors.items())
        }
        self.head = "embed.weight" if self.config.tied else "head.weight"

    def __call__(self, input_ids: Any, attention_mask: Any, past: Any) -> dict[str, Any]:
        """(B, T), (B, S), (L, 2, B, K, P, D) -> (B, T, V) logits, (L, 2, B, K, S, D) present."""
        tf, config, position = self.tf, self.config, self.config.position
        T, P = tf.shape(input_ids)[1], tf.shape(past)[4]
        context = tf.debugging.assert_less_equal(
            P + T, config.context_length, message="more positions than context_length"
        )
        with tf.control_dependencies([context]):  # all that looks a place up comes behind it
            input_ids, attention_mask = tf.identity(input_ids), tf.identity(attention_mask)
        x = tf.gather(self.weights["embed.weight"], input_ids)  # (B, T, C)
        columns = tf.maximum(tf.cumsum(attention_mask, 1) - 1, 0)  # (B, S)
        rows = columns[:, P:]  # (B, T)
        places = tf.range(P + T)
        new = places[P:, None]
        seen = (new >= places) & tf.cast(attention_mask, tf.bool)[:, None, :] | (new == places)
        bias = tf.where(seen, 0.0, -float("inf"))[:, None, None]  # (B, 1, 1, T, S)
        turn: Callable[[Any], Any] = tf.identity
        if isinstance(position, LearnedPosition):
            x += tf.gather(self.weights["position.weight"], rows)
        elif isinstance(position, AlibiPosition):
            distance = tf.cast(rows[:, :, None] - columns[:, None, :], tf.float32)  # (B, T, S)
            slopes = tf.reshape(self.weights["position.slopes"], (1, config.n_kv_head, -1, 1, 1))
            bias -= slopes * distance[:, None, None]  # (B, K, G, T, S)
        elif isinstance(position, RopePosition):
            turn = self.turn(rows)
        present = []
        for layer in range(config.n_layer):
            block = f"blocks.{layer}"
            y = self.norm(f"{block}.norm1", x)
            y, cache = self.attention(f"{block}.attention", y, turn, bias, past[layer])
            x += y
            x += self.mlp(f"{block}.mlp", self.norm(f"{block}.norm2", x))
            present.append(cache)
        logits = self.linear(self.head, self.norm("norm", x))
        return {"logits": logits, "present": tf.stack(present)}

    def linear(self, weight: str, x: Any) -> Any:
        """(B, T, in) -> (B, T, out)."""
        y = self.tf.einsum("bti,oi->bto", x, self.weights[weight])
        bias = self.weights.get(weight.replace(".weight", ".bias"))
        return y if bias is None else y + bias

    def norm(self, name: str, x: Any, eps: float | None = None) -> Any:
        """(…, C) -> (…, C); with `eps` root mean square, else as the config says."""
        tf, weight, bias = self.tf, self.weights[f"{name}.weight"], f"{name}.bias"
        if eps is None and isinstance(self.config.norm, LayerNorm):
            x -= tf.reduce_mean(x, -1, keepdims=True)
        eps = self.config.norm.eps if eps is None else eps
        y = x * tf.math.rsqrt(tf.reduce_mean(x * x, -1, keepdims=True) + eps) * weight
        return y + self.weights[bias] if bias in self.weights else y

    def turn(self, rows: Any) -> Callable[[Any], Any]:
        """What rotates (B, T, heads, D) at the positions `rows`."""
        tf = self.tf
        cos, sin = (
            tf.gather(self.weights[f"position.{name}"], rows)[:, :, None] for name in ("cos", "sin")
        )  # (B, T, 1, D)

        def turned(x: Any) -> Any:
            first, second = tf.split(x, 2, axis=-1)
            return x * cos + tf.concat((-second, first), -1) * sin

        return turned

    def attention(
        self, name: str, x: Any, turn: Callable[[Any], Any], bias: Any, past: Any
    ) -> tuple[Any, Any]:
        """(B, T, C), (2, B, K, P, D) -> (B, T, C), (2, B, K, S, D)."""
        tf, H, K, D = self.tf, self.config.n_head, self.config.n_kv_head, self.config.head_width
        B, T = tf.unstack(tf.shape(x)[:2])
        q, k, v = (
            tf.reshape(self.linear(f"{name}.{part}.weight", x), (B, T, heads, D))
            for part, heads in (("q", H), ("k", K), ("v", K))
        )
        if self.config.qk_norm:
            q = self.norm(f"{name}.q_norm", q, QK_NORM_EPS)
            k = self.norm(f"{name}.k_norm", k, QK_NORM_EPS)
        q = tf.reshape(turn(q), (B, T, K, H // K, D))
        new = tf.transpose(tf.stack((turn(k), v)), (0, 1, 3, 2, 4))  # (2, B, K, T, D)
        present = tf.concat((past, new), 3)
        scores = tf.einsum("btkgd,bksd->bkgts", q, present[0]) * D**-0.5 + bias
        y = tf.einsum("bkgts,bksd->btkgd", tf.nn.softmax(scores), present[1])
        y = self.linear(f"{name}.out.weight", tf.reshape(y, (B, T, H * D)))
        return y, present

    def mlp(self, name: str, x: Any) -> Any:
        """(B, T, C) -> (B, T, C)."""
        up = self.linear(f"{name}.up.weight", x)
        if isinstance(self.config.mlp, SwigluMlp):
            gate = self.linear(f"{name}.gate.weight", x)
            inner = gate * self.tf.sigmoid(gate) * up  # tf.nn.silu has a gradient that is saved too
        else:
            inner = self.tf.nn.gelu(up, approximate=True)
        return self.linear(f"{name}.down.weight", inner)


def module(model: GPT, tf: Any) -> tuple[Any, dict[str, Any]]:
    """What is saved: a tf.Module that can be called without signatures too, and the signatures."""
    forward, config = Forward(model, tf), model.config
    ids = tf.TensorSpec((None, None), tf.int64, "input_ids")
    mask = tf.TensorSpec((None, None), tf.int64, "attention_mask")
    sizes = (config.n_layer, 2, None, config.n_kv_head, None, config.head_width)
    past = tf.TensorSpec(sizes, tf.float32, "past")

    def prefill(input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        rows = tf.shape(input_ids)[0]
        empty = tf.zeros((config.n_layer, 2, rows, config.n_kv_head, 0, config.head_width))
        return forward(input_ids, attention_mask, empty)

    def decode(input_ids: Any, attention_mask: Any, past: Any) -> dict[str, Any]:
        return forward(input_ids, attention_mask, past)

    saved = tf.Module()
    saved.weights = forward.weights
    saved.context_length = tf.Variable(config.context_length, trainable=False)
    saved.prefill = tf.function(prefill, input_signature=[ids, mask], autograph=False)
    saved.decode = tf.function(decode, input_signature=[ids, mask, past], autograph=False)
    return saved, {"prefill": saved.prefill, "decode": saved.decode}


def write(package: Package, out: Path, config: ExportConfig) -> None:
    """Write the folder saved_model."""
    del config  # nothing to choose
    tf = tensorflow()
    saved, signatures = module(plain_model(package), tf)
    place = "ram://minigpt-export"  # files of TensorFlow's own writer are not whole or nothing
    try:
        tf.saved_model.save(saved, place, signatures=signatures)
        for folder, _, names in tf.io.gfile.walk(place):
            for name in set(names) - {UNIQUE}:
                with tf.io.gfile.GFile(f"{folder}/{name}", "rb") as file:
                    data = file.read()
                target = out / FOLDER / folder.removeprefix(place).strip("/") / name
                write_bytes(target, tidy(data) if name == "saved_model.pb" else data)
    finally:
        tf.io.gfile.rmtree(place)


def tidy(data: bytes) -> bytes:
    """saved_model.pb with functions counted from 0 and sorted, as maps are."""
    messages = require("tensorflow.core.protobuf.saved_model_pb2", extra="tensorflow")
    text_format = require("google.protobuf.text_format")
    counts: dict[str, dict[str, int]] = {}

    def counted(name: re.Match[str]) -> str:
        alike = counts.setdefault(name[1], {})
        return f"{name[1]}_{alike.setdefault(name[0], len(alike))}"

    text = text_format.MessageToString(messages.SavedModel.FromString(data))
    model = text_format.Parse(COUNTED.sub(counted, text), messages.SavedModel())
    for graph in model.meta_graphs:
        functions = graph.graph_def.library.function
        functions.sort(key=lambda function: function.signature.name)
        for argument in (a for function in functions for a in function.arg_attr.values()):
            if NAMED in argument.attr and argument.attr[NAMED].s.isdigit():  # a count too
                del argument.attr[NAMED]
    tidied: bytes = model.SerializeToString(deterministic=True)
    return tidied


def decode(folder: Path, threads: int) -> Decoder:
    """The folder as TensorFlow runs it on the CPU; its threads are those of the process."""
    del threads  # they can be chosen once only, before anything runs
    tf: Any = tensorflow()
    model = tf.saved_model.load(str(folder))

    def step(ids: Tensor, past: Any = None, mask: Tensor | None = None) -> tuple[Tensor, Any]:
        if mask is None:
            length = 0 if past is None else past.shape[4]
            mask = torch.ones(ids.size(0), length + ids.size(1), dtype=torch.long)
        inputs = [tf.constant(tensor.numpy()) for tensor in (ids, mask)]
        answer = model.prefill(*inputs) if past is None else model.decode(*inputs, past)
        return torch.from_numpy(answer["logits"].numpy()), answer["present"]

    return step


ENTRY = Exporter(
    "tensorflow",
    write,
    models=(ExportedModel("tensorflow", FOLDER, decode),),
    example=EXAMPLE,
    beyond="TensorFlow refuses: more positions than context_length",
    refuses=refuses,
)
