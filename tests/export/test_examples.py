"""The example.py of each folder, as who has only the folder runs it: without minigpt."""

import subprocess
import sys

import pytest

from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.generation.config import SamplingConfig
from minigpt.generation.stream import generate
from minigpt.generation.torch_engine import TorchEngine

ELSEWHERE = {"gguf"}
"""Where the program is not installed with minigpt: test_llama_cpp.py builds it."""
PROMPT = "The quick brown"
ALONE = """
import runpy, sys
sys.modules["minigpt"] = None
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(folder, *arguments, cwd):
    command = [sys.executable, "-c", ALONE, str(folder / "example.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, encoding="utf-8")


def ours(package, prompt, tokens):
    sampling, engine = SamplingConfig(temperature=0), TorchEngine(package.model)
    return "".join(generate(engine, package.tokenizer, prompt, sampling, tokens, seed=0))


@pytest.mark.parametrize("name", sorted(EXPORTERS.keys() - ELSEWHERE))
def test_the_example_writes_our_greedy_text(plain, name, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    EXPORTERS[name].export(plain, folder, ExportConfig())
    done = run(folder, PROMPT, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    half = plain.config.context_length // 2
    assert done.stdout == f"{PROMPT}{ours(plain, PROMPT, half)}\n"

    long = run(folder, PROMPT * 20, cwd=tmp_path)  # only the end of it fits
    assert long.returncode == 0, long.stderr


@pytest.mark.parametrize("exporter", EXPORTERS.values(), ids=EXPORTERS)
def test_an_example_is_short_and_needs_nothing_of_ours(exporter):
    code = exporter.example.split('"""', 2)[2]
    assert "minigpt" not in exporter.example
    assert len([line for line in code.splitlines() if line]) <= 20
    compile(exporter.example, "example.py", "exec")
