"""`minigpt report`: reports/index.html, one page that needs no network, from what stages wrote.

It is read by no stage. A stage that has not run yet leaves its part of the page out.
"""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from minigpt.data.checks import Dropped, read_dropped
from minigpt.data.datadocs import render_data_docs
from minigpt.data.document import DOCUMENTS, LICENCES, read_documents
from minigpt.data.validation import DATA_DOCS
from minigpt.errors import DataError
from minigpt.evaluation.charts import bar_chart, line_chart
from minigpt.evaluation.config import MODELS, SAMPLES
from minigpt.files import write_text
from minigpt.roles import PRETRAIN, ROLES

PAGE = Path("reports/index.html")
LABELS = {
    "base": "base model",
    "finetuned": "fine-tuned model",
    "ngram": "byte n-gram",
    "ppmd": "PPMd",
}
"""Names of models and baselines that are not their own best name."""


def render(root: Path, durations: Mapping[str, float] | None = None) -> Path:
    """Write the page (and the validation's own page) under `root`; return its path.

    Args:
        root: the project.
        durations: stage -> seconds of the run that made its present outputs, in order.
    """
    judgement, dropped = read_json(root / "data/validation.json"), read_all_dropped(root)
    if judgement:
        write_text(root / DATA_DOCS, render_data_docs(judgement, dropped))
    evaluation = read_json(root / "results/evaluate.json")
    environment = Environment(
        loader=PackageLoader("minigpt.evaluation", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"size": size, "seconds": seconds, "label": label}
    page = environment.get_template("report.html").render(
        sources=sources(root),
        judgement=judgement,
        dropped=dropped,
        validation_page=DATA_DOCS.relative_to(PAGE.parent).as_posix(),
        trainings=trainings(root),
        evaluation=evaluation,
        charts=figure_charts(evaluation),
        highlights=highlights(evaluation),
        sizes=sizes(root),
        samples=read_json(root / "data/evaluation" / SAMPLES),
        durations=dict(durations or {}),
        time_chart=bar_chart(
            [(stage, spent, False) for stage, spent in (durations or {}).items()],
            "Seconds each stage took",
            digits=0,
        ),
    )
    write_text(root / PAGE, page)
    return root / PAGE


def read_json(path: Path) -> Any:
    """The file's value; None where there is no file."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except ValueError as error:  # the marks of a merge
        raise DataError(f"{path}: not JSON: {error}. Run: dvc repro") from error


def read_all_dropped(root: Path) -> list[Dropped]:
    """What validate dropped; nothing before it ran."""
    path = root / "data/dropped.parquet"
    return read_dropped(path) if path.is_file() else []


def sources(root: Path) -> list[dict[str, Any]]:
    """Each source with its licence, its size and its works by split."""
    folder = root / "data/documents"
    if not (folder / DOCUMENTS).is_file():
        return []
    licences = read_json(folder / LICENCES) or {}
    counted = (read_json(root / "results/validate.json") or {}).get("sources", {})
    works: dict[str, dict[str, set[str]]] = {}
    roles = {}
    for document in read_documents(folder, columns=("source", "role", "work", "split")):
        roles[document.source] = document.role
        works.setdefault(document.source, {}).setdefault(document.split, set()).add(document.work)
    return [
        {"name": name, "role": roles[name]}
        | licences.get(name, {})
        | counted.get(name, {})
        | {"works": Counter({split: len(of_split) for split, of_split in splits.items()})}
        for name, splits in works.items()
    ]


def trainings(root: Path) -> list[dict[str, Any]]:
    """Each training stage's loss curves."""
    charts = []
    for name in (role.stage for role in ROLES.values()):
        lines = {}
        for label, part in (("training", "train"), ("validation", "val")):
            path = root / "plots" / name / f"{part}.csv"
            if path.is_file():
                with path.open(encoding="utf-8", newline="") as file:
                    rows = list(csv.DictReader(file))
                lines[label] = [(float(row["step"]), float(row[f"{part}_loss"])) for row in rows]
        if not lines:
            continue
        chart = line_chart(lines, "step", f"Loss of {name} in nats per token")
        charts.append({"name": name, "chart": chart})
    return charts


def figure_charts(evaluation: Any) -> dict[str, Any]:
    """For each source, bits per byte of both models and all baselines, the best first."""
    charts = {}
    for source in (evaluation or {}).get("test", {}):
        models = [(name, evaluation[name][source]["bits_per_byte"], True) for name in MODELS]
        marks = [
            (name, by_source[source]["bits_per_byte"], False)
            for name, by_source in evaluation["baselines"].items()
        ]
        bars = [(label(n), v, ours) for n, v, ours in sorted(models + marks, key=lambda b: b[1])]
        charts[source] = bar_chart(bars, f"Bits per byte on {source}, less is better", digits=3)
    return charts


def highlights(evaluation: Any) -> list[dict[str, Any]]:
    """The main figure of each source beside the one that gives it meaning."""
    figures = []
    for source, about in (evaluation or {}).get("test", {}).items():
        base, tuned = (evaluation[name][source]["bits_per_byte"] for name in MODELS)
        if about["role"] == PRETRAIN.name:
            ppmd = evaluation["baselines"]["ppmd"][source]["bits_per_byte"]
            figures.append(
                {"value": base, "what": f"base model on {source}", "beside": f"PPMd {ppmd:.2f}"}
            )
        else:
            beside = f"before fine-tuning {base:.2f}"
            figures.append(
                {"value": tuned, "what": f"fine-tuned model on {source}", "beside": beside}
            )
    return figures


def sizes(root: Path) -> list[dict[str, Any]]:
    """Packages and exports: size, and how far each is from our fp32 model."""
    rows = []
    for file, prefix in (("quantize", "package "), ("export", "")):
        for name, figures in (read_json(root / "results" / f"{file}.json") or {}).items():
            if isinstance(figures, dict) and "bytes" in figures:
                rows.append({"name": prefix + name} | figures)
    return rows


def label(name: str) -> str:
    """What a model, a baseline or a format is called on the page."""
    return LABELS.get(name, name.replace("_", " "))


def size(n_bytes: float) -> str:
    """Bytes for people, in units of 1,000."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.3g} GB"


def seconds(value: float) -> str:
    """As m:ss."""
    return f"{round(value) // 60}:{round(value) % 60:02d}"
