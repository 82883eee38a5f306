"""Engines other than torch's own. Shapes: T new positions, K kv heads, D head width."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigpt.errors import PackageError
from minigpt.extras import require_silent
from minigpt.generation.engine import Engine
from minigpt.generation.sampling import Floats


class OnnxEngine(Engine):
    """onnxruntime on a CPU, over a folder that `export` wrote."""

    def __init__(self, folder: Path, file: str = "model.onnx", threads: int = 1) -> None:
        """`file`: model.onnx, model_int8.onnx or model_int4.onnx.

        Raises:
            PackageError: the folder is not an ONNX export.
        """
        runtime = require_silent("onnxruntime")
        theirs = require_silent("onnxruntime.capi.onnxruntime_pybind11_state")
        try:
            config = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
            self.context_length = config["context_length"]
            decoder = config["decoder"]
            self.shape = (1, decoder["num_key_value_heads"], 0, decoder["head_size"])
            options = runtime.SessionOptions()
            options.intra_op_num_threads = threads
            options.inter_op_num_threads = 1
            # Threads that spin between calls starve everything else on a shared machine.
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
            self.session = runtime.InferenceSession(
                folder / file, options, providers=["CPUExecutionProvider"]
            )
        except (
            *(OSError, ValueError, KeyError, TypeError),
            *(theirs.Fail, theirs.InvalidProtobuf, theirs.InvalidGraph, theirs.NotImplemented),
            theirs.NoSuchFile,
        ) as error:
            raise PackageError(
                f"{folder / file}: not an ONNX export ({type(error).__name__}: {error}). "
                "Run: dvc repro export"
            ) from error
        self.inputs = [node.name for node in self.session.get_inputs()][2:]
        self.past: list[np.ndarray] = []

    def start(self, ids: Sequence[int]) -> Floats:
        """Read `ids` with an empty past."""
        self.past = [np.zeros(self.shape, np.float32) for _ in self.inputs]
        return self.read(ids)

    def step(self, token: int) -> Floats:
        """Read one id behind the past."""
        return self.read((token,))

    def read(self, ids: Sequence[int]) -> Floats:
        """Logits behind the last of `ids`; the past grows by them."""
        feed = dict(zip(self.inputs, self.past, strict=True))
        feed["input_ids"] = np.array([ids])
        feed["attention_mask"] = np.ones((1, self.past[0].shape[2] + len(ids)), np.int64)
        logits, *self.past = self.session.run(None, feed)
        last: Floats = logits[0, -1].astype(np.float64)
        return last
