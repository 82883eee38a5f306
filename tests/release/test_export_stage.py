"""The stages quantize and export on a tiny package: what they measure, and their bytes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from minigpt.digest import digest
from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.export.exporters import EXPORTERS
from minigpt.export.manifest import check
from minigpt.files import rounded, to_json
from minigpt.release.export import export, line
from pipelines.closing import size

ROOT = Path(__file__).resolve().parents[2]
AGAIN = """
import sys
from pathlib import Path
from types import SimpleNamespace
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.files import rounded, write_json
from minigpt.machine import Machine
from minigpt.release.config import QuantizeConfig, QuantizeParams
from minigpt.release.export import export
from minigpt.release.quantize import quantize

root, out = map(Path, sys.argv[1:])
quiet = lambda text: None
run = SimpleNamespace(machine=Machine(threads=1), say=quiet, progress=quiet)
inputs = root / "models/finetuned", root / "data/documents"
config = QuantizeConfig(max_bytes=400, logit_tokens=40, calibration_tokens=480)
first = QuantizeParams(quantize=config)
second = ExportParams(export=ExportConfig(max_bytes=400, cached_steps=8))
metrics = [
    quantize(*inputs, out / "int8", out / "int4", first, run),
    export(*inputs, out / "exports", second, run),
]
write_json(out / "metrics.json", rounded(metrics))
"""


def test_logits_are_ours_in_fp32_and_near_in_int8(exported):
    # The same fp32 sums in another order.
    assert exported["hf"]["greatest_logit_difference"] < 1e-5
    assert exported["onnx"]["greatest_logit_difference"] < 1e-5
    assert 1e-5 < exported["onnx_int8"]["greatest_logit_difference"] < 1


def test_onnxruntimes_int8_is_measured_in_bits_per_byte(exported):
    entry = exported["onnx_int8"]
    assert entry["bits_per_byte"].keys() == {"plays", "speeches"}
    assert all(abs(change) < 0.05 for change in entry["relative_difference"].values())
    assert entry["bytes"] < 0.5 * exported["onnx"]["bytes"]


def test_another_process_writes_the_same_bytes(tiny, quantized, exported, tmp_path, monkeypatch):
    for name, value in (("PYTHONHASHSEED", "7"), ("TZ", "Asia/Kolkata"), ("LC_ALL", "C")):
        monkeypatch.setenv(name, value)
    again = tmp_path / "again"
    command = [sys.executable, "-c", AGAIN, str(tiny), str(again)]
    subprocess.run(command, cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    for name in ("models/int8", "models/int4", "exports"):
        assert digest(again / Path(name).name) == digest(tiny / name), name
    assert (again / "metrics.json").read_text() == to_json(rounded([quantized, exported]))


def test_logits_beyond_the_tolerance_are_refused_and_nothing_is_left(tiny, run, tmp_path):
    strict = ExportParams(export=ExportConfig(formats=("hf",), tolerance=1e-12))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    with pytest.raises(ExportError, match=r"hf: logits differ from ours .* export\.tolerance"):
        export(*inputs, tmp_path / "exports", strict, run)
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_cannot_hold_the_model_is_refused_before_any_is_written(
    tiny, run, tmp_path, monkeypatch
):
    hf, onnx = EXPORTERS["hf"], EXPORTERS["onnx"]
    monkeypatch.setitem(EXPORTERS, "hf", replace(hf, write=lambda *_: pytest.fail("it wrote")))
    monkeypatch.setitem(EXPORTERS, "onnx", replace(onnx, refuses=lambda _: ["no words"]))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    with pytest.raises(ExportError, match=r"onnx: no words\. Leave onnx out of export\.formats\."):
        export(*inputs, tmp_path / "exports", ExportParams(), run)


def test_only_the_formats_that_params_list_are_written(tiny, run, tmp_path):
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    for formats, written in ((("hf",), ["hf"]), ((), ["absent.txt"])):
        params = ExportParams(export=ExportConfig(formats=formats))
        assert list(export(*inputs, tmp_path / "exports", params, run)) == list(formats)
        assert [path.name for path in (tmp_path / "exports").iterdir()] == written


def test_a_difference_too_small_to_show_has_no_minus_sign():
    figures = {"bytes": 1_000_000, "relative_difference": {"plays": -0.0004}}
    assert line("onnx", figures) == "onnx 1.0 MB (+0.0% bits per byte)"
    assert size("int8", figures) == "int8 1.0 MB (+0.0% bits per byte)"


def test_every_folder_says_what_it_is_and_how_it_was_proven(tiny, exported):
    for name in ExportConfig().formats:
        manifest = check(tiny / "exports" / name)
        assert manifest.model["digest"] == digest(tiny / "models/finetuned")
        assert manifest.proof.keys() == {model.name for model in EXPORTERS[name].models}
        for model, figures in manifest.proof.items():
            assert figures == rounded(exported[model])
        assert manifest.licences == {"plays": "public domain", "speeches": "public domain"}
        assert manifest.limits["context_length"] == 48
        assert manifest.limits["beyond"] == EXPORTERS[name].beyond


def spoilt(name, monkeypatch, spoil):
    """The exporter `name`, whose decoders go through `spoil`."""
    exporter = EXPORTERS[name]
    models = tuple(
        replace(model, decode=lambda *args, decode=model.decode: spoil(decode(*args)))
        for model in exporter.models
    )
    monkeypatch.setitem(EXPORTERS, name, replace(exporter, models=models))
    return ExportParams(export=ExportConfig(formats=(name,), max_bytes=400))


def test_a_batch_that_is_not_its_rows_is_refused(tiny, run, tmp_path, monkeypatch):
    def neighbourly(decoder):
        def decode(ids, past=None, mask=None):
            logits, past = decoder(ids, past, mask)
            return logits + (len(ids) > 1), past

        return decode

    params = spoilt("hf", monkeypatch, neighbourly)
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    with pytest.raises(ExportError, match=r"hf: logits of a padded batch differ .* by up to 1, "):
        export(*inputs, tmp_path / "exports", params, run)
    assert list(tmp_path.iterdir()) == []


def test_another_text_than_ours_is_refused(tiny, run, tmp_path, monkeypatch):
    params = spoilt("hf", monkeypatch, lambda decoder: decoder)
    monkeypatch.setattr("minigpt.release.export.same_text", lambda *_: False)
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    with pytest.raises(ExportError, match=r"hf: its tokenizer\.json does not make our text"):
        export(*inputs, tmp_path / "exports", params, run)
    assert list(tmp_path.iterdir()) == []
