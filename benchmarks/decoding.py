"""Every format and rounding side by side: size, bits per byte, speed and memory, in one run.

Each engine runs in a process of its own, by turns, on the same cores, prompts and model; medians
are printed as a table. Size and bits per byte are those that the stages export and quantize wrote
to results/ beside the exported folder.
"""

import argparse
import itertools
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt.errors import DataError, MiniGPTError
from minigpt.extras import require
from minigpt.machine import Machine

EXAMPLE = """\
example, in a checkout whose stages export and quantize have run:
  python benchmarks/decoding.py
  python benchmarks/decoding.py --llama llama/bin/python --into docs/benchmarks.md
llama.cpp has no wheels: python -m venv llama && llama/bin/pip install llama-cpp-python builds it.
"""
PROMPT, NEW, BATCHES = 16, 192, (1, 4, 16)
TEXT = """\
My fellow citizens, no people on earth have more cause to be thankful than ours, and this is said
reverently, in no spirit of boastfulness in our own strength, but with gratitude.
"""
TITLE, WIDTH = "## Decoding", 140
BASELINE = "hf"
PROGRAMS = {
    "hf": ("transformers", "transformers", "hf"),
    "onnx": ("onnxruntime-genai", "genai", "onnx/model.onnx"),
    "onnx_int8": ("onnxruntime-genai", "genai", "onnx/model_int8.onnx"),
    "onnx_int4": ("onnxruntime-genai", "genai", "onnx/model_int4.onnx"),
    "gguf": ("llama.cpp", "llama_cpp", "gguf/model-F32.gguf"),
    "gguf_q8_0": ("llama.cpp", "llama_cpp", "gguf/model-Q8_0.gguf"),
    "gguf_q4_0": ("llama.cpp", "llama_cpp", "gguf/model-Q4_0.gguf"),
}
"""Exported model → program, its function in decoding_engines.py, place in exports/. Models that
are not here run as their exporter decodes them."""
OURS = "minigpt"
"""Our own engines, through the scheduler."""
PACKAGES = {"fp32": "finetuned", "int8": "int8", "int4": "int4"}
"""Package in results/quantize.json → its folder in models/; torch runs it."""


@dataclass
class Row:
    """One model in one program."""

    model: str
    program: str
    engine: str
    path: Path
    figures: dict[str, Any]
    """What its stage has measured: bytes, and relative_difference where it rounds."""
    batches: tuple[int, ...] = BATCHES
    answers: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.model} in {self.program}"


def read_results(exports: Path, stage: str) -> dict[str, Any]:
    """results/STAGE.json beside the exported folder."""
    file = exports.parent / "results" / f"{stage}.json"
    try:
        results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read ({type(error).__name__}); size and bits per byte are there. "
            f"Run: dvc repro {stage}"
        ) from error
    return results


def rows_of(exports: Path) -> list[Row]:
    """All that can be measured there, transformers first."""
    if not (exports / BASELINE).is_dir():
        raise DataError(
            f"{exports / BASELINE} is missing: others are compared with transformers' generate. "
            f"Name a built checkout's exports; or add {BASELINE} to export.formats in params.yaml "
            "and run: dvc repro export quantize"
        )
    exported, packages = (read_results(exports, stage) for stage in ("export", "quantize"))
    rows = []
    for name, figures in exported.items():
        program, engine, place = PROGRAMS.get(name, ("by its exporter", "exporter", name))
        rows.append(Row(name, program, engine, exports / place, figures))
        if engine == "genai":
            rows.append(Row(name, OURS, "minigpt_onnx", exports / place, figures))
    for name, folder in PACKAGES.items():
        path = exports.parent / "models" / folder
        rows.append(Row(name, OURS, "minigpt", path, packages[name]))
    order = {name: place for place, name in enumerate(PROGRAMS)}
    return sorted(rows, key=lambda row: order.get(row.model, len(order)))


def prompts_for(exports: Path, count: int, length: int) -> list[list[int]]:
    """`count` prompts of `length` ids, each the start of a document."""
    file = str(exports / BASELINE / "tokenizer.json")
    start, *ids = require("tokenizers").Tokenizer.from_file(file).encode(TEXT).ids
    text = list(itertools.islice(itertools.cycle(ids), count + length))
    return [[start, *text[row : row + length - 1]] for row in range(count)]


def context_length(exports: Path) -> int:
    config = json.loads((exports / BASELINE / "config.json").read_text(encoding="utf-8"))
    length = int(config.get("max_position_embeddings") or config["n_positions"])
    if length <= PROMPT:
        raise DataError(
            f"{exports}: the model sees {length} positions, the prompts alone have {PROMPT}. "
            "Name the exports of one with a longer model.context_length"
        )
    return length


def ask(row: Row, python: str, threads: int, **work: Any) -> dict[str, Any] | str:
    """What the engine measured, or why it could not."""
    asked = {"engine": row.engine, "path": str(row.path), "threads": threads} | work
    settings = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [python, Path(__file__).with_name("decoding_engines.py")],
        input=json.dumps(asked | {"batches": row.batches}),
        capture_output=True,
        encoding="utf-8",
        env=os.environ | settings,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"exit code {done.returncode}"
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def measure(
    rows: list[Row], llama: str | None, threads: int, rounds: int, **work: Any
) -> dict[str, str]:
    """Ask all rows by turns, so that all see the same load; those left out, and why."""
    left_out: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for row in rows:
            if row.name in left_out:
                continue
            print(f"round {number} of {rounds}: {row.name}", file=sys.stderr, flush=True)
            if row.engine == "llama_cpp" and llama is None:
                left_out[row.name] = "--llama names no Python with llama-cpp-python"
                continue
            python = str(llama) if row.engine == "llama_cpp" else sys.executable
            answer = ask(row, python, threads, **work)
            if isinstance(answer, dict):
                row.answers.append(answer)
            elif row.model == BASELINE:
                raise DataError(f"{row.name}: {answer}")
            else:
                print(f"{row.name}: left out: {answer}", file=sys.stderr)
                left_out[row.name] = answer
    return left_out


def summary(row: Row, new: int) -> dict[str, Any]:
    """Medians over all rounds."""

    def median(key: str, batch: str | None = None) -> float:
        values = [answer[key] if batch is None else answer[key][batch] for answer in row.answers]
        lists = [value if isinstance(value, list) else [value] for value in values]
        return statistics.median(itertools.chain.from_iterable(lists))

    return {
        "model": row.model,
        "program": row.program,
        "version": row.answers[0]["version"],
        "bytes": row.figures["bytes"],
        "relative_difference": row.figures.get("relative_difference"),
        "tokens_per_second": {n: n * new / median("seconds", str(n)) for n in row.batches},
        "first_token_ms": 1e3 * median("first_token_seconds"),
        "peak_mb": median("peak_mb"),
        "libraries_mb": median("libraries_mb"),
        "ids": row.answers[0]["ids"],
    }


def cells(row: dict[str, Any], baseline: dict[str, Any]) -> list[str]:
    """One line of the table."""
    rounded, speeds = row["relative_difference"], row["tokens_per_second"]
    ratio = {n: speed / baseline["tokens_per_second"][n] for n, speed in speeds.items()}
    return [
        row["model"],
        row["program"],
        f"{row['bytes'] / 1e6:.2f}",
        f"{row['bytes'] / baseline['bytes']:.1%}".replace("%", " %"),
        ", ".join(f"{v:+.2%}".replace("%", " %") for v in rounded.values()) if rounded else "same",
        *(f"{speeds[n]:,.0f} ({ratio[n]:.1f})" if n in speeds else "–" for n in BATCHES),
        f"{row['first_token_ms']:.1f}",
        f"{row['peak_mb']:.0f} ({row['peak_mb'] - row['libraries_mb']:.0f})",
    ]


def table(report: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    rows, (baseline, *_) = report["rows"], report["rows"]
    head = ["model", "program", "MB", "of fp32's", "bits per byte"]
    head += [f"batch {n}" for n in BATCHES] + ["first token, ms", "memory, MB"]
    lines = [head, ["---"] * len(head), *(cells(row, baseline) for row in rows)]
    versions = {row["program"]: row["version"] for row in rows if row["model"] in PROGRAMS}
    fp32 = ", ".join(f"{value:.3f} on {source}" for source, value in report["fp32"].items())
    command = "`python benchmarks/decoding.py --llama PYTHON --into docs/benchmarks.md`"
    sentences = [
        f"{command}, {report['machine']}, load {report['load']:.1f} at the start;",
        f"{', '.join(f'{program} {version}' for program, version in versions.items())}.",
        f"{report['prompt']} prompt tokens and {report['new']} new ones a sequence, always the",
        "likeliest. Each engine in a process of its own, by turns, the model in memory and warm;",
        f"medians of {report['samples']}. Batches: tokens a second over all sequences, prompt",
        "included; in brackets, how many times transformers'. First token: at batch 1. Memory:",
        f"peak up to batch {max(BATCHES)}; in brackets, what came after the import of libraries.",
        f"Bits per byte: beside fp32's on the same test text, by the stages (fp32: {fp32}).",
    ]
    reasons: dict[str, list[str]] = {}
    for name, reason in report["left_out"].items():
        reasons.setdefault(reason, []).append(name)
    left_out = "; ".join(f"{', '.join(names)} ({why})" for why, names in reasons.items())
    return "\n\n".join(
        (
            textwrap.fill(" ".join(sentences), WIDTH, break_on_hyphens=False),
            "\n".join(f"| {' | '.join(line)} |" for line in lines),
            *([textwrap.fill(f"Left out: {left_out}.", WIDTH)] if left_out else []),
        )
    )


def put_into(file: Path, section: str, title: str = TITLE) -> None:
    """Replace the section of that title, up to the next one; without one, append it."""
    text = file.read_text(encoding="utf-8")
    new = f"{title}\n{section}\n\n"
    pattern = re.compile(rf"^{re.escape(title)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    text, count = pattern.subn(lambda _: new, text)
    text = text if count else f"{text}\n{new}"
    file.write_text(f"{text.rstrip()}\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    machine = Machine.load()
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("exports", nargs="?", type=Path, default=Path("exports"), help="default: ./exports")
    add("--llama", metavar="PYTHON", help="a Python with llama-cpp-python, for GGUF")
    add("--threads", type=int, default=machine.threads, help="default: physical cores")
    add("--rounds", type=int, default=3, help="times that each engine is started; default: 3")
    add("--repeats", type=int, default=3, help="times that it writes, each time; default: 3")
    add("--into", metavar="FILE", type=Path, help=f"write the table under its {TITLE!r}")
    add("--json", action="store_true", help="print figures instead of the table")
    asked = parser.parse_args(arguments)
    if min(asked.threads, asked.rounds, asked.repeats) < 1:
        parser.error("--threads, --rounds and --repeats are at least 1")
    if asked.llama and not shutil.which(asked.llama):
        parser.error(f"--llama {asked.llama}: no such program")

    exports = asked.exports.absolute()
    rows = rows_of(exports)
    new = min(NEW, context_length(exports) - PROMPT)
    kind = platform.machine().replace("_", "-")
    load, prompts = os.getloadavg()[0], prompts_for(exports, max(BATCHES), PROMPT)
    work = {"prompts": prompts, "new": new, "repeats": asked.repeats}
    left_out = measure(rows, asked.llama, asked.threads, asked.rounds, **work)
    measured = [row for row in rows if row.name not in left_out]
    report = {
        "machine": f"{asked.threads} threads ({kind} with {machine.fingerprint()['cpu']})",
        "load": load,
        "prompt": PROMPT,
        "new": new,
        "samples": asked.rounds * asked.repeats,
        "fp32": read_results(exports, "quantize")["fp32"]["bits_per_byte"],
        "rows": [summary(row, new) for row in measured],
        "left_out": left_out,
    }
    section = table(report)
    if asked.into:
        put_into(asked.into, section)
    print(json.dumps(report, indent=2) if asked.json else section)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except MiniGPTError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
