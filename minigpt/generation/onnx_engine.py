"""Slots over onnxruntime on a CPU, for graphs whose attention writes into the cache it reads.

Keys and values of all slots are allocated once and bound once (GroupQueryAttention,
arXiv:2305.13245, takes rows of different lengths); a pass copies nothing but ids and logits.
Shapes: B rows, T tokens, K kv heads, M context_length, D head width, V vocabulary.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.errors import PackageError
from minigpt.extras import require_silent
from minigpt.generation.engine import Engine, Logits
from minigpt.generation.model_files import CONFIG

SPIN = "2000"
"""Microseconds that a waiting thread spins before it sleeps: longer than 16 tokens are chosen in
between two passes. Alone on 2 cores 12.6M parameters write 1.25 to 1.5 times as fast; beside
another program that keeps a core busy 0.6 to 0.7 times (docs/benchmarks.md)."""


class OnnxEngine(Engine):
    """onnxruntime over a file of the ONNX export."""

    exact = True  # every product of a row is computed by itself (tests/generation)

    def __init__(
        self,
        folder: Path,
        file: str = "model.onnx",
        *,
        slots: int = 1,
        threads: int = 1,
        spin: bool = False,
    ) -> None:
        """Read `file` of the export in `folder`.

        Args:
            folder: what `export` wrote.
            file: one of FILES.
            slots: sequences at once.
            threads: threads of a pass.
            spin: waiting threads spin: quicker alone, and starves neighbours.

        Raises:
            PackageError: it is not an ONNX export, or one without fused attention.
        """
        runtime = require_silent("onnxruntime")
        theirs = require_silent("onnxruntime.capi.onnxruntime_pybind11_state")
        path = folder / file
        try:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            model = config["model"]
            decoder = model["decoder"]
            shape = (decoder["num_key_value_heads"], model["context_length"], decoder["head_size"])
            fused = bool(config["search"]["past_present_share_buffer"])
            self.context_length, self.vocab_size = model["context_length"], model["vocab_size"]
            options = runtime.SessionOptions()
            options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
            options.log_severity_level = 4
            options.use_deterministic_compute = True
            options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
            if spin:
                options.add_session_config_entry("session.intra_op.spin_duration_us", SPIN)
            self.session = runtime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except (
            *(OSError, ValueError, KeyError, TypeError),
            *(theirs.Fail, theirs.InvalidProtobuf, theirs.InvalidGraph, theirs.NotImplemented),
            *(theirs.NoSuchFile, theirs.RuntimeException),
        ) as error:
            raise PackageError(
                f"{path}: not an ONNX export ({type(error).__name__}: {error}). "
                "Run: dvc repro export"
            ) from error
        if not fused:
            raise PackageError(f"{path}: {UNFUSED}")
        self.slots = slots
        self._runtime, self._names = runtime, [i.name for i in self.session.get_inputs()[2:]]
        self._lengths = [0] * slots
        self._caches = [np.zeros((slots, *shape), np.float32) for _ in self._names]
        self._ids = np.zeros((slots, 1), np.int64)
        self._mask = np.zeros((slots, self.context_length), np.int64)
        self._logits = np.zeros((slots, 1, self.vocab_size), np.float32)
        self._bound: dict[tuple[int, int], tuple[Any, list[Any]]] = {}

    def read(self, slot: int, ids: Sequence[int], *, every: bool = False) -> Logits:
        """One pass over all of `ids`."""
        T, held = len(ids), self._lengths[slot]
        out = np.empty((1, T, self.vocab_size), np.float32)
        binding, kept = self._binding(
            slot, slot + 1, np.array([ids], np.int64), np.ones((1, held + T), np.int64), out
        )
        self.session.run_with_iobinding(binding)
        del kept
        self._lengths[slot] = held + T
        self._mask[slot, held : held + T] = 1
        logits: Logits = out[0] if every else out[0, -1]
        return logits

    def step(self, tokens: Mapping[int, int]) -> Mapping[int, Logits]:
        """One pass over the rows from the first slot named to the last.

        Free slots between them go along: each reads a token behind what it holds, which the next
        reader of that slot writes over.
        """
        low, high = min(tokens), max(tokens) + 1
        for slot in range(low, high):
            self._ids[slot, 0] = tokens.get(slot, 0)
            self._mask[slot, self._lengths[slot]] = 1
        if (low, high) not in self._bound:
            rows = slice(low, high)
            self._bound[low, high] = self._binding(
                low, high, self._ids[rows], self._mask[rows], self._logits[rows]
            )
        self.session.run_with_iobinding(self._bound[low, high][0])
        for slot in range(low, high):
            if slot in tokens:
                self._lengths[slot] += 1
            else:
                self._mask[slot, self._lengths[slot]] = 0
        return {slot: self._logits[slot, 0] for slot in tokens}

    def length(self, slot: int) -> int:
        """Positions that `slot` holds."""
        return self._lengths[slot]

    def cut(self, slot: int, length: int) -> None:
        """Forget what `slot` holds from position `length` on."""
        self._lengths[slot] = min(self._lengths[slot], length)
        self._mask[slot, self._lengths[slot] :] = 0

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy keys and values."""
        for cache in self._caches:
            cache[target, :, :length] = cache[source, :, :length]
        self._lengths[target] = length
        self._mask[target] = np.arange(self.context_length) < length

    def _binding(self, low: int, high: int, *arrays: Any) -> tuple[Any, list[Any]]:
        """Ids, mask and logits bound with the rows' keys and values; what must stay alive."""
        value, binding = self._runtime.OrtValue.ortvalue_from_numpy, self.session.io_binding()
        ids, mask, logits, *caches = kept = [
            value(array) for array in (*arrays, *(cache[low:high] for cache in self._caches))
        ]
        binding.bind_ortvalue_input("input_ids", ids)
        binding.bind_ortvalue_input("attention_mask", mask)
        binding.bind_ortvalue_output("logits", logits)
        for name, cache in zip(self._names, caches, strict=True):
            binding.bind_ortvalue_input(name, cache)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), cache)
        return binding, [*kept, arrays]


UNFUSED = (
    "its graph keeps no cache of its own, so it cannot hold several texts. Use another engine: "
    "--engine torch"
)
