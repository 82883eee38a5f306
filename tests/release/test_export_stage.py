"""The stages quantize and export on a tiny package: what they measure, and their bytes."""

import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from minigpt.digest import digest
from minigpt.errors import ExportError, PackageError
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.export.exporter import opening
from minigpt.export.exporters import EXPORTERS
from minigpt.export.manifest import check
from minigpt.files import rounded, to_json
from minigpt.package import load_package, save_package
from minigpt.release.config import QuantizeConfig, QuantizeParams
from minigpt.release.export import export, line
from minigpt.release.quantize import quantize
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
        assert manifest.model.digest == digest(tiny / "models/finetuned")
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


def test_a_model_that_rounds_to_nonsense_is_refused(tiny, run, tmp_path, monkeypatch):
    def silent(decoder):
        def decode(ids, past=None, mask=None):
            logits, past = decoder(ids, past, mask)
            return 0 * logits, past

        return decode

    params = spoilt("gguf", monkeypatch, silent)
    rounding = [model for model in EXPORTERS["gguf"].models if not model.exact]
    monkeypatch.setitem(EXPORTERS, "gguf", replace(EXPORTERS["gguf"], models=tuple(rounding)))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    message = (
        r"gguf_q8_0: logits differ .* by up to 1, allowed is 0\.2 .*export\.rounding_tolerance"
    )
    with pytest.raises(ExportError, match=message):
        export(*inputs, tmp_path / "exports", params, run)
    assert list(tmp_path.iterdir()) == []


def unopened(value):
    value["post_processor"] = None


def renamed(value):
    value["added_tokens"][-1]["content"] = "<|another|>"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(unopened, "our token ids on test text"), (renamed, "our text of every token")],
)
def test_another_tokenizer_than_ours_is_refused(tiny, run, tmp_path, monkeypatch, spoil, message):
    def spoilt_opening(tokenizer):
        value = opening(tokenizer)
        spoil(value)
        return value

    monkeypatch.setattr("minigpt.export.exporter.opening", spoilt_opening)
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    params = ExportParams(export=ExportConfig(formats=("hf",), max_bytes=400))
    with pytest.raises(ExportError, match=rf"hf: its tokenizer\.json does not .*{message}"):
        export(*inputs, tmp_path / "exports", params, run)


@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_model_of_what_is_no_number_is_refused(tiny, run, tmp_path, weight):
    package, documents = spoilt_package(tiny, tmp_path, weight), tiny / "data/documents"
    out = tmp_path / "int8", tmp_path / "int4"
    with pytest.raises(PackageError, match=r"embed\.weight holds what is no finite number"):
        export(package, documents, tmp_path / "exports", ExportParams(), run)
    with pytest.raises(PackageError, match=r"embed\.weight holds what is no finite number"):
        quantize(package, documents, *out, QuantizeParams(), run)
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


def test_a_model_of_nothing_but_zeros_is_told_in_numbers(tiny, run, tmp_path):
    package, documents = spoilt_package(tiny, tmp_path, 0), tiny / "data/documents"
    first = ExportParams(export=ExportConfig(formats=("hf", "gguf"), max_bytes=400))
    second = QuantizeParams(quantize=QuantizeConfig(max_bytes=400, calibration_tokens=48))
    another = SimpleNamespace(machine=run.machine, say=print, progress=print)
    results = [
        export(package, documents, tmp_path / "exports", first, another),
        quantize(package, documents, tmp_path / "int8", tmp_path / "int4", second, another),
    ]
    to_json(results)  # refuses what is no number


def spoilt_package(tiny, out, weight):
    """The package of `tiny`, every weight of its tables this."""
    package = load_package(tiny / "models/finetuned")
    with torch.no_grad():
        for table in (package.model.embed, package.model.head):
            table.weight.fill_(weight)
    save_package(out / "package", package.model, package.path)
    return out / "package"


def test_another_text_than_ours_is_refused(tiny, run, tmp_path, monkeypatch):
    params = spoilt("hf", monkeypatch, lambda decoder: decoder)
    monkeypatch.setattr("minigpt.release.export.same_text", lambda *_: False)
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    with pytest.raises(ExportError, match=r"hf: its tokenizer\.json does not make our text"):
        export(*inputs, tmp_path / "exports", params, run)
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_was_changed_since_is_refused(tiny, run, tmp_path):
    shutil.copytree(tiny / "models/finetuned", tmp_path / "package")
    weights = tmp_path / "package/model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    inputs, out = (tmp_path / "package", tiny / "data/documents"), tmp_path / "int4"
    with pytest.raises(PackageError, match="sha256"):
        export(*inputs, tmp_path / "exports", ExportParams(), run)
    with pytest.raises(PackageError, match="sha256"):
        quantize(*inputs, tmp_path / "int8", out, QuantizeParams(), run)
