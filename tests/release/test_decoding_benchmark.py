"""benchmarks/decoding.py on a tiny package: that all is asked and told. Never how fast it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.files import rounded, write_json
from minigpt.tokenizer.exported import load_exported

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "benchmarks" / "decoding.py"


def decoding(*arguments, code=None):
    """The command, once an engine on one thread, and what it printed."""
    command = [BENCHMARK] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *command, *arguments, "--rounds=1", "--repeats=1", "--threads=1"],
        capture_output=True,
        encoding="utf-8",
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, BENCHMARK.parent)))},
    )


@pytest.fixture(scope="module")
def make_checkout(tiny, quantized, exported, tmp_path_factory):
    """A function from names of exported models to a folder that has these."""

    def make(*names):
        root = tmp_path_factory.mktemp("checkout")
        for name in ("exports", "models"):
            (root / name).symlink_to(tiny / name)
        write_json(root / "results/export.json", rounded({name: exported[name] for name in names}))
        write_json(root / "results/quantize.json", rounded(quantized))
        return root

    return make


@pytest.fixture(scope="module")
def told(make_checkout, exported, tmp_path_factory):
    """What it prints as JSON, the file it wrote into, and its progress."""
    file = tmp_path_factory.mktemp("docs") / "benchmarks.md"
    file.write_text("# Measured\n\n## Decoding\nold\n\n## Proof\nstays\n")
    exports = make_checkout(*exported) / "exports"
    done = decoding(exports, "--json", "--into", file, "--llama", sys.executable)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), file.read_text(encoding="utf-8"), done.stderr


def test_every_export_and_package_has_a_row_or_the_reason_why_not(told, exported):
    report, text, progress = told
    both = ["onnx", "onnx", "onnx_int8", "onnx_int8", "onnx_int4", "onnx_int4"]
    rows = [row["model"] for row in report["rows"]]
    assert rows == ["hf", *both, "fp32", "int8", "int4"]
    left_out = {name.partition(" ")[0]: reason for name, reason in report["left_out"].items()}
    assert left_out.keys() == exported.keys() - set(rows)
    assert set(left_out.values()) == {"ModuleNotFoundError: No module named 'llama_cpp'"}
    assert "Left out: gguf in llama.cpp, gguf_q8_0 in llama.cpp, gguf_q4_0" in text
    assert "round 1 of 1: onnx_int8 in onnxruntime-genai" in progress


def test_programs_write_the_same_text_up_to_the_end_of_the_context(told, tiny):
    report, *_ = told
    assert report["prompt"] + report["new"] == 48
    exact = [row["ids"] for row in report["rows"] if row["model"] in ("hf", "onnx", "fp32")]
    hf, genai, *ours = exact
    assert hf == genai
    assert len(hf) == report["new"]
    # Ours holds reserved tokens back.
    specials = set(load_exported(tiny / "exports/onnx").specials.values())
    plain = next((i for i, token in enumerate(hf) if token in specials), len(hf))
    assert plain > 8
    assert [ids[:plain] for ids in ours] == [hf[:plain]] * 2
    assert [len(ids) for ids in ours] == [len(hf)] * 2


def test_each_row_has_size_loss_speed_and_memory(told, exported, quantized):
    report, *_ = told
    for row in report["rows"]:
        figures = (exported | quantized)[row["model"]]
        assert row["bytes"] == figures["bytes"]
        assert row["relative_difference"] == rounded(figures).get("relative_difference")
        assert row["tokens_per_second"].keys() == {"1", "4", "16"}
        assert min(row["tokens_per_second"].values()) > 0
        assert row["first_token_ms"] > 0
        assert row["peak_mb"] >= row["libraries_mb"] > 1


def test_the_section_of_a_document_is_replaced_and_its_neighbours_stay(told):
    _, text, _ = told
    assert text.startswith("# Measured\n\n## Decoding\n`python benchmarks/decoding.py")
    assert text.endswith("\n\n## Proof\nstays\n")
    assert "old" not in text
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + 10
    assert len({line.count(" | ") for line in lines}) == 1
    assert "| onnx_int8 | onnxruntime-genai |" in text
    assert max(map(len, text.splitlines())) <= 140


def test_a_format_that_it_does_not_know_runs_as_its_exporter_decodes_it(make_checkout):
    code = (
        "import sys, decoding\n"
        "del decoding.PROGRAMS['onnx_int8']  # now it stands for all formats to come\n"
        "sys.exit(decoding.main(sys.argv[1:]))"
    )
    exports = make_checkout("hf", "onnx_int8", "gguf") / "exports"
    done = decoding(exports, "--json", code=code)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = {row["model"]: row for row in report["rows"]}
    assert rows["onnx_int8"]["program"] == "by its exporter"
    assert rows["onnx_int8"]["tokens_per_second"].keys() == {"1", "4", "16"}
    reason = "--llama names no Python with llama-cpp-python"
    assert report["left_out"] == {"gguf in llama.cpp": reason}


def test_what_is_missing_is_said_in_a_line(make_checkout, tmp_path):
    done = decoding(tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{tmp_path / 'hf'} is missing" in done.stderr
    assert "dvc repro export" in done.stderr
    exports = make_checkout("hf") / "exports"
    done = decoding(exports, "--llama", tmp_path / "python")
    assert done.returncode == 2
    assert "no such program" in done.stderr
    (exports.parent / "results/export.json").unlink()
    done = decoding(exports)
    assert done.returncode == 2
    assert f"{exports.parent / 'results' / 'export.json'}: cannot be read" in done.stderr


def test_help_has_an_example():
    assert "python benchmarks/decoding.py --llama" in decoding("--help").stdout
