"""Engines side by side on a model of 12.6M parameters, by batch and by length of the prompt.

The shape is Qwen3's: vocabulary 4,096, 6 layers, 384 wide, 6 heads, 2 of keys and values, context
512; weights are random, made and exported into a temporary folder. Each engine runs in a process of
its own, by turns, on the same cores and prompts; medians are printed as a table, beside the times
that transformers' generate is quicker or slower.
"""

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import decoding

from minigpt.errors import MiniGPTError
from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.machine import Machine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

EXAMPLE = """\
example:
  python benchmarks/engines.py --llama llama/bin/python --into docs/benchmarks.md
"""
VOCABULARY, NEW, LENGTHS, BATCHES = 4096, 192, (16, 256), (1, 4, 16)
SHAPE = ModelConfig(
    n_layer=6, n_embd=384, n_head=6, n_kv_head=2, mlp_dim=1024, context_length=512, tied=False
)
TITLE = "## Engines"
ENGINES = {
    "transformers fp32": ("transformers", "hf"),
    "onnxruntime-genai int8": ("genai", "onnx/model_int8.onnx"),
    "llama.cpp fp32": ("llama_cpp", "gguf/model-F32.gguf"),
    "llama.cpp Q8_0": ("llama_cpp", "gguf/model-Q8_0.gguf"),
    "minigpt onnx": ("minigpt_onnx", "onnx/model.onnx"),
    "minigpt onnx-int8": ("minigpt_onnx", "onnx/model_int8.onnx"),
    "minigpt onnx-int4": ("minigpt_onnx", "onnx/model_int4.onnx"),
    "minigpt torch": ("minigpt", "package"),
}


@dataclass
class Row:
    """As decoding.Row: what `decoding.ask` needs."""

    name: str
    engine: str
    path: Path
    batches: tuple[int, ...] = BATCHES
    answers: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def rate(self, length: int, batch: int) -> float:
        """New tokens a second over all sequences, prompts included: the median."""
        times = [a["seconds"][str(batch)] for a in self.answers[length]]
        return batch * NEW / statistics.median(itertools.chain.from_iterable(times))


def make(folder: Path) -> None:
    """The model as a package and in the formats that the engines read."""
    texts = [path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].rglob("*.py")
             if ".venv" not in path.parts]  # fmt: skip
    config = TokenizerConfig(vocab_size=VOCABULARY)
    Tokenizer.train(texts, config).save(folder / "tokenizer")
    save_package(folder / "package", build_model(SHAPE, VOCABULARY, seed=0), folder / "tokenizer")
    package = load_package(folder / "package")
    for name in ("hf", "onnx", "gguf"):
        (folder / name).mkdir()
        EXPORTERS[name].export(package, folder / name, ExportConfig())


def table(rows: list[Row], left_out: dict[str, str], threads: int, load: float) -> str:
    """The section of docs/benchmarks.md."""
    columns = [(length, batch) for length in LENGTHS for batch in BATCHES]
    head = ["engine", *(f"prompt {length}, batch {batch}" for length, batch in columns)]
    lines = [head, ["---"] * len(head)]
    base, kind = rows[0], platform.machine().replace("_", "-")
    for row in rows:
        rates = [row.rate(*column) for column in columns]
        ratios = [rate / base.rate(*column) for rate, column in zip(rates, columns, strict=True)]
        cells = [f"{v:,.0f} ({r:.1f})" for v, r in zip(rates, ratios, strict=True)]
        lines.append([row.name, *cells])
    cpu = Machine.load().fingerprint()["cpu"]
    sentence = (
        f"`python benchmarks/engines.py --llama PYTHON --into docs/benchmarks.md`, {threads} "
        f"threads ({kind} with {cpu}), load {load:.1f} at the start. 12.6M parameters in Qwen3's "
        f"shape, random weights; {NEW} new tokens a sequence, always the likeliest; tokens a "
        "second over all sequences, prompt included; in brackets, how many times transformers'."
    )
    parts = [textwrap.fill(sentence, decoding.WIDTH, break_on_hyphens=False)]
    parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if left_out:
        reasons = "; ".join(f"{name} ({why})" for name, why in left_out.items())
        parts.append(textwrap.fill(f"Left out: {reasons}.", decoding.WIDTH))
    return "\n\n".join(parts)


def main(arguments: list[str]) -> int:
    machine = Machine.load()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--llama", metavar="PYTHON", help="a Python with llama-cpp-python")
    add("--threads", type=int, default=machine.threads, help="default: physical cores")
    add("--rounds", type=int, default=3, help="times that each engine is started; default: 3")
    add("--into", metavar="FILE", type=Path, help=f"write the table under its {TITLE!r}")
    asked = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder)
        rows = [Row(name, engine, folder / path) for name, (engine, path) in ENGINES.items()]
        left_out: dict[str, str] = {}
        for _, row, length in itertools.product(range(asked.rounds), rows, LENGTHS):
            if row.engine == "llama_cpp" and asked.llama is None:
                left_out[row.name] = "--llama names no Python with llama-cpp-python"
            if row.name in left_out:
                continue
            python = asked.llama if row.engine == "llama_cpp" else sys.executable
            prompts = decoding.prompts_for(folder, max(BATCHES), length)
            work = {"prompts": prompts, "new": NEW, "repeats": 2}
            answer = decoding.ask(row, python, asked.threads, **work)  # type: ignore[arg-type]
            if isinstance(answer, str):
                left_out[row.name] = answer
            else:
                row.answers.setdefault(length, []).append(answer)
    section = table([r for r in rows if r.name not in left_out], left_out, asked.threads, load)
    if asked.into:
        decoding.put_into(asked.into, section, TITLE)
    print(section)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MiniGPTError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
