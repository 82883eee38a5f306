"""Is the exported model the same model? Its logits beside ours, prompt and cached steps.

Shapes: B batch, T new positions, V vocabulary.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from minigpt.extras import require
from minigpt.model.gpt import GPT
from minigpt.tokenizer.bpe import Tokenizer


class Decoder(Protocol):
    """A model with a cache, whoever runs it."""

    def __call__(self, ids: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """(B, T) ids and what the call before gave back -> (B, T, V) logits, past for the next."""


@dataclass(frozen=True)
class Parity:
    """How far a decoder's logits are from the reference's."""

    prompt: float
    """Greatest difference of a logit, all tokens at once."""
    cached: float
    """The same with the last tokens one by one, from the cache."""
    relative: float
    """|difference| / |reference| over all logits (2-norms), all tokens at once."""


@torch.no_grad()
def parity(reference: Decoder, candidate: Decoder, ids: Tensor, cached_steps: int) -> Parity:
    """Compare over (B, T) `ids`; the last `cached_steps` of them also go one by one."""
    expected, _ = reference(ids)
    whole, _ = candidate(ids)
    head = ids.size(1) - min(cached_steps, ids.size(1) - 1)
    logits, past = candidate(ids[:, :head])
    steps = [logits]
    for t in range(head, ids.size(1)):
        logits, past = candidate(ids[:, t : t + 1], past)
        steps.append(logits)
    return Parity(
        prompt=float((whole - expected).abs().max()),
        cached=float((torch.cat(steps, dim=1) - expected).abs().max()),
        relative=float((whole - expected).norm() / expected.norm()),
    )


def torch_decoder(model: GPT) -> Decoder:
    """Our own model."""

    def decode(ids: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        cache = model.new_cache(ids.size(0)) if past is None else past
        return model(ids, cache), cache

    return decode


def hf_decoder(folder: Path) -> Decoder:
    """An exported folder as `transformers` runs it; nothing is fetched."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    transformers = require("transformers")
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    model.eval()

    def decode(ids: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        out = model(input_ids=ids, cache=past, use_cache=True)
        return out.logits, out.cache

    return decode


def onnx_decoder(file: Path, threads: int) -> Decoder:
    """An exported .onnx file as onnxruntime runs it on the CPU."""
    onnxruntime = require("onnxruntime")
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    _, *inputs = session.get_inputs()

    def decode(ids: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        if past is None:
            _, heads, _, width = inputs[0].shape
            past = [np.zeros((ids.size(0), heads, 0, width), np.float32)] * len(inputs)
        feeds = {node.name: array for node, array in zip(inputs, past, strict=True)}
        logits, *present = session.run(None, feeds | {"input_ids": ids.contiguous().numpy()})
        return torch.from_numpy(logits), present

    return decode


def same_ids(folder: Path, tokenizer: Tokenizer, texts: Iterable[str]) -> bool:
    """Whether the folder's tokenizer.json gives our ids for every text."""
    tokenizers = require("tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.encode_special_tokens = True  # as ours: a special token's name in a text is text
    return all(
        theirs.encode(text, add_special_tokens=False).ids == tokenizer.encode(text)
        for text in texts
    )
