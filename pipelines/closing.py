"""What a run ends with: the version, its figures beside what gives them meaning, what next."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt.log import minutes, printable
from minigpt.roles import FINETUNE, PRETRAIN, final_model, of_role
from pipelines.runner import Outcome, Result
from pipelines.terminal import script

BASELINES = {
    "ppmd": "PPMd", "ngram": "n-gram", "xz": "xz", "zstd": "zstd", "unigram": "unigram",
    "uniform": "uniform",
}  # fmt: skip
SAMPLE_CHARACTERS = 160
PROMPT = "My fellow citizens"


def nothing_to_do(stages: int, standing: str, seconds: float) -> str:
    """The whole of a second run."""
    return f"{stages} of {stages} stages unchanged · {standing} · {seconds:.0f} s"


def all_unchanged(results: Mapping[str, Result]) -> bool:
    """Whether DVC found every output as it should be."""
    return all(result.outcome is Outcome.UNCHANGED for result in results.values())


def closing(root: Path, version: str, report: Path, seconds: float, ref: str) -> list[str]:
    """The block under the table, from the results and samples in `root`.

    `ref` is what commands call the version that was made: champion, or its number.
    """
    evaluation, sizes = (read(root / f"results/{name}.json") for name in ("evaluate", "quantize"))
    samples = read(root / "data/evaluation/samples.json")
    # params.yaml may ask for no samples
    model = final_model(evaluation)
    sample = next((sample for sample in samples if sample["model"] == model), None)
    facts: list[tuple[str, str]] = [("version", version)]
    facts += figures(evaluation)
    facts.append(("sizes", " · ".join(size(name, entry) for name, entry in in_size(sizes))))
    facts.append(("report", report.relative_to(root).as_posix()))
    if sample:
        facts.append(("sample", shortened(f"{sample['prompt']}{sample['text']}")))
    lines = [f"Done in {minutes(seconds)}."]
    lines += [f"  {name:<10}{text}".rstrip() for name, text in facts]
    return [*lines, "", "Next", *next_commands(root, prompt_of(sample), ref)]


def prompt_of(sample: Mapping[str, str] | None) -> str:
    """What to let it continue: a shell takes no line end in quotes, so then its own first words."""
    if sample is None:
        return PROMPT
    words = f"{sample['prompt']}{sample['text']}".split()
    return sample["prompt"] if sample["prompt"].isprintable() else " ".join(words[:3]) or PROMPT


def figures(evaluation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Bits per byte of each model on each test source, baselines below."""
    facts = []
    base, baselines = evaluation[PRETRAIN.model], evaluation["baselines"]
    tuned: Mapping[str, Any] = evaluation.get(FINETUNE.model, {})
    roles = {source: about["role"] for source, about in sorted(evaluation["test"].items())}
    for source in of_role(roles, PRETRAIN):
        works = evaluation["test"][source].get("works", len(base[source]["works"]))
        facts.append(
            (
                "base" if tuned else "model",
                f"{bits(base, source)} bits per byte on {source} ({works} held-out works)",
            )
        )
        baseline_bits = [(bits(baselines[key], source), name) for key, name in BASELINES.items()]
        facts.append(("", " · ".join(f"{name} {figure}" for figure, name in sorted(baseline_bits))))
    for source in of_role(roles, FINETUNE) if tuned else ():
        old = [f" · on {s} {bits(tuned, s)}" for s in of_role(roles, PRETRAIN)]
        before = f"before fine-tuning {bits(base, source)}"
        facts.append(("model", f"{bits(tuned, source)} on {source} ({before}){''.join(old)}"))
    return facts


def in_size(sizes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The packages, largest first."""
    return sorted(sizes.items(), key=lambda item: -item[1]["bytes"])


def size(name: str, entry: Mapping[str, Any]) -> str:
    """Megabytes of a package and what its rounding costs on the worst source."""
    text = f"{name} {entry['bytes'] / 1e6:.1f} MB"
    if "relative_difference" not in entry:
        return text
    return f"{text} ({max(entry['relative_difference'].values()):+z.1%} bits per byte)"


def next_commands(root: Path, prompt: str, ref: str) -> Sequence[str]:
    """The three commands that a person wants next."""
    minigpt = script(root, "minigpt")
    # Without `make` (Windows), what it calls.
    services = "make up" if shutil.which("make") else "python bootstrap.py up"
    chosen = "" if ref == "champion" else f" -m {ref}"  # the champion is who writes by default
    listed = (
        (f"{minigpt} generate {json.dumps(prompt, ensure_ascii=False)}{chosen}", "let it write"),
        (f"{minigpt} lineage {ref}", "where every byte of it came from"),
        (services, "MLflow, Prefect and the schedule in a browser"),
    )
    width = max(len(command) for command, _ in listed)
    return [f"  {command:<{width}}  {what}" for command, what in listed]


def bits(figures: Mapping[str, Any], source: str) -> str:
    """Bits per byte to two decimals."""
    return f"{figures[source]['bits_per_byte']:.2f}"


def shortened(text: str) -> str:
    """Text on one line in quotation marks, cut at a word."""
    words = printable(" ".join(text.split()))
    if len(words) > SAMPLE_CHARACTERS:
        words = words[:SAMPLE_CHARACTERS].rsplit(" ", 1)[0] + " …"
    return f'"{words}"'


def read(path: Path) -> Any:
    """A JSON file of a stage."""
    return json.loads(path.read_text(encoding="utf-8"))
