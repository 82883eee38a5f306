"""The stages quantize and export on a tiny package: what they measure, and their bytes."""

import subprocess
import sys

import pytest

from minigpt.digest import digest
from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.release.export import export

PARAMS = ExportParams(export=ExportConfig(max_bytes=400, cached_steps=8))
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


@pytest.fixture(scope="module")
def result(tiny, run):
    exports = tiny / "exports"
    return export(
        tiny / "models/finetuned", tiny / "data/documents",
        exports / "onnx", exports / "hf", PARAMS, run,
    )  # fmt: skip


def test_logits_are_ours_in_fp32_and_near_in_int8(result):
    # The same fp32 sums in another order.
    assert result["hf"]["greatest_logit_difference"] < 1e-5
    assert result["onnx"]["greatest_logit_difference"] < 1e-5
    assert 1e-5 < result["onnx_int8"]["greatest_logit_difference"] < 1


def test_onnxruntimes_int8_is_measured_in_bits_per_byte(result):
    found = result["onnx_int8"]
    assert found["bits_per_byte"].keys() == {"plays", "speeches"}
    assert all(abs(change) < 0.05 for change in found["relative_difference"].values())
    assert found["bytes"] < 0.5 * result["onnx"]["bytes"]


def test_two_processes_write_the_same_bytes(tiny, result, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    arguments = [sys.executable, "-c", AGAIN, str(tiny)]
    subprocess.run([*arguments, str(tmp_path / "again")], cwd=tmp_path, check=True)
    for name in ("onnx", "hf"):
        assert digest(tmp_path / "again" / name) == digest(tiny / "exports" / name)


def test_logits_beyond_the_tolerance_are_refused_and_nothing_is_left(tiny, run, tmp_path):
    strict = ExportParams(export=ExportConfig(formats=("hf",), tolerance=1e-12))
    with pytest.raises(ExportError, match=r"hf: logits differ from ours .* export\.tolerance"):
        export(
            tiny / "models/finetuned", tiny / "data/documents",
            tmp_path / "onnx", tmp_path / "hf", strict, run,
        )  # fmt: skip
    assert not (tmp_path / "hf").exists()


def test_a_format_that_is_not_listed_leaves_a_note(tiny, run, tmp_path):
    params = ExportParams(export=ExportConfig(formats=()))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    assert export(*inputs, tmp_path / "onnx", tmp_path / "hf", params, run) == {}
    assert [path.name for path in (tmp_path / "hf").iterdir()] == ["absent.txt"]
