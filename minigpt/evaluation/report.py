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
from minigpt.data.document import DOCUMENTS, LICENCES, open_parquet, read_documents
from minigpt.data.validation import DATA_DOCS
from minigpt.dvc_lock import LOCK, stages_of
from minigpt.errors import DataError
from minigpt.evaluation.bootstrap import Interval, bits_per_byte
from minigpt.evaluation.charts import bar_chart, line_chart
from minigpt.evaluation.config import MODELS, SAMPLES
from minigpt.evaluation.passages import FILE as PASSAGES
from minigpt.files import write_text
from minigpt.roles import PRETRAIN, ROLES, final_model

PAGE = Path("reports/index.html")
PARAMS = "params.yaml"  # as dvc.lock names it; minigpt.params lies above
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
    whole = intervals(root)
    page = environment.get_template("report.html").render(
        sources=sources(root),
        judgement=judgement,
        dropped=dropped,
        validation_page=DATA_DOCS.relative_to(PAGE.parent).as_posix(),
        trainings=trainings(root),
        evaluation=evaluation,
        models=judged(evaluation),
        charts=figure_charts(evaluation),
        highlights=highlights(evaluation, whole),
        sizes=sizes(root),
        whole=whole,
        final=final_model(evaluation or ()),
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
        if not any(lines.values()):  # nothing was fine-tuned
            continue
        chart = line_chart(lines, "step", f"Loss of {name} in nats per token")
        charts.append({"name": name, "chart": chart})
    return charts


def judged(evaluation: Any) -> list[str]:
    """The models that were judged, in the order of training."""
    return [name for name in MODELS if name in (evaluation or {})]


def figure_charts(evaluation: Any) -> dict[str, Any]:
    """For each source, bits per byte of each model and all baselines, the best first."""
    charts = {}
    for source in (evaluation or {}).get("test", {}):
        models = [(n, evaluation[n][source]["bits_per_byte"], True) for n in judged(evaluation)]
        marks = [
            (name, by_source[source]["bits_per_byte"], False)
            for name, by_source in evaluation["baselines"].items()
        ]
        bars = [(label(n), v, ours) for n, v, ours in sorted(models + marks, key=lambda b: b[1])]
        charts[source] = bar_chart(bars, f"Bits per byte on {source}, less is better", digits=3)
    return charts


def intervals(root: Path) -> dict[str, dict[str, Interval]]:
    """Of each of our models, by source: bits per byte on all test text, with its interval."""
    path = root / "data/evaluation" / PASSAGES
    if not path.is_file():
        return {}
    passages: dict[tuple[str, str], list[tuple[float, int]]] = {}
    columns = ["measure", "source", "bits", "bytes"]
    with open_parquet(path) as file:
        rows = file.read(columns, use_threads=False).to_pylist()
    for row in rows:
        passages.setdefault((row["measure"], row["source"]), []).append((row["bits"], row["bytes"]))
    of_models: dict[str, dict[str, Interval]] = {name: {} for name in MODELS}
    for (measure, source), amounts in passages.items():
        if measure in of_models:
            bits, n_bytes = zip(*amounts, strict=True)
            of_models[measure][source] = bits_per_byte(bits, n_bytes)
    return of_models


def highlights(
    evaluation: Any, whole: Mapping[str, Mapping[str, Interval]]
) -> list[dict[str, Any]]:
    """The main figure of each source beside the one that gives it meaning."""
    figures = []
    for source, about in (evaluation or {}).get("test", {}).items():
        base = evaluation["base"][source]["bits_per_byte"]
        if about["role"] == PRETRAIN.name:
            ppmd = evaluation["baselines"]["ppmd"][source]["bits_per_byte"]
            name, value, beside = "base", base, f"PPMd {ppmd:.2f}"
        else:
            tuned = evaluation["finetuned"][source]["bits_per_byte"]
            name, value, beside = "finetuned", tuned, f"before fine-tuning {base:.2f}"
        span = whole.get(name, {}).get(source)
        beside = f"{span.about} · {beside}" if span else beside
        figures.append({"value": value, "what": f"{label(name)} on {source}", "beside": beside})
    return figures


def sizes(root: Path) -> list[dict[str, Any]]:
    """Packages and exports: size, and how far each is from our fp32 model on the same text.

    One that rounds is measured on the beginnings of test works, `max_bytes` a source: its figure is
    not one to hold beside those on all of them. `fp32` is our model's on what it was measured on.
    """
    lock = root / LOCK
    stages = stages_of(lock.read_bytes() if lock.is_file() else None)
    rows = []
    for stage, prefix in (("quantize", "package "), ("export", "")):
        params = stages.get(stage, {}).get("params", {}).get(PARAMS, {})
        max_bytes = params.get(stage, {}).get("max_bytes")
        for name, figures in (read_json(root / "results" / f"{stage}.json") or {}).items():
            if isinstance(figures, dict) and "bytes" in figures:
                row = {"name": prefix + name, "max_bytes": max_bytes} | figures
                change = figures.get("relative_difference", {})
                row["fp32"] = {s: figures["bits_per_byte"][s] / (1 + v) for s, v in change.items()}
                rows.append(row)
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
