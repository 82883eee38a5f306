"""The stages quantize and export on a tiny package: what they measure, and their bytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.digest import digest
from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.files import rounded, to_json
from minigpt.release.export import export

ROOT = Path(__file__).resolve().parents[2]
AGAIN = """
import sys
from pathlib import Path
from types import SimpleNamespace
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.files import rounded, write_json
from minigpt.machine import Machine
from minigpt.quantization.config import QuantizeConfig, QuantizeParams
from minigpt.release.export import export
from minigpt.release.quantize import quantize

root, out = map(Path, sys.argv[1:])
quiet = lambda text: None
run = SimpleNamespace(machine=Machine(threads=1), say=quiet, progress=quiet)
inputs = root / "models/finetuned", root / "data/documents"
first = QuantizeParams(quantize=QuantizeConfig(max_bytes=400, logit_tokens=40))
second = ExportParams(export=ExportConfig(max_bytes=400, cached_steps=8))
metrics = [
    quantize(*inputs, out / "int8", out / "int4", first, run),
    export(*inputs, out / "onnx", out / "hf", second, run),
]
write_json(out / "metrics.json", rounded(metrics))
"""


def test_logits_are_ours_in_fp32_and_near_in_int8(exported):
    # The same fp32 sums in another order.
    assert exported["hf"]["greatest_logit_difference"] < 1e-5
    assert exported["onnx"]["greatest_logit_difference"] < 1e-5
    assert 1e-5 < exported["onnx_int8"]["greatest_logit_difference"] < 1


def test_onnxruntimes_int8_is_measured_in_bits_per_byte(exported):
    found = exported["onnx_int8"]
    assert found["bits_per_byte"].keys() == {"plays", "speeches"}
    assert all(abs(change) < 0.05 for change in found["relative_difference"].values())
    assert found["bytes"] < 0.5 * exported["onnx"]["bytes"]


def test_another_process_writes_the_same_bytes(tiny, quantized, exported, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    again = tmp_path / "again"
    command = [sys.executable, "-c", AGAIN, str(tiny), str(again)]
    subprocess.run(command, cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for name in ("models/int8", "models/int4", "exports/onnx", "exports/hf"):
        assert digest(again / Path(name).name) == digest(tiny / name), name
    assert (again / "metrics.json").read_text() == to_json(rounded([quantized, exported]))


def test_logits_beyond_the_tolerance_are_refused_and_nothing_is_left(tiny, run, tmp_path):
    strict = ExportParams(export=ExportConfig(formats=("hf",), tolerance=1e-12))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    with pytest.raises(ExportError, match=r"hf: logits differ from ours .* export\.tolerance"):
        export(*inputs, tmp_path / "onnx", tmp_path / "hf", strict, run)
    assert not (tmp_path / "hf").exists()


def test_a_format_that_is_not_listed_leaves_a_note(tiny, run, tmp_path):
    params = ExportParams(export=ExportConfig(formats=()))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    assert export(*inputs, tmp_path / "onnx", tmp_path / "hf", params, run) == {}
    assert [path.name for path in (tmp_path / "hf").iterdir()] == ["absent.txt"]
