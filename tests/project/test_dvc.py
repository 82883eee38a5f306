"""What a daily user of DVC sees: metrics, plots, experiments and the graph."""

import importlib
import json
import re
from pathlib import Path

import pytest

from minigpt.run import select
from minigpt.tracking.tracker import flatten

ROOT = Path(__file__).resolve().parents[2]
STAGES = {
    "validate": "minigpt.data.validation",
    "tokenizer": "minigpt.tokenizer.train",
    "tokens": "minigpt.tokenizer.tokenize",
    "pretrain": "minigpt.training.pretrain",
    "finetune": "minigpt.training.finetune",
    "evaluate": "minigpt.evaluation.evaluate",
    "quantize": "minigpt.release.quantize",
    "export": "minigpt.release.export",
}
"""Name of the files of a stage -> the module that has its HEADLINES."""
MOST_METRICS = 25
TERMINAL = 120
TRAININGS = ("pretrain", "finetune")


def read_all(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def test_the_committed_metrics_are_few_and_all_numbers():
    metrics = read_all(ROOT / "metrics")
    assert metrics.keys() == read_all(ROOT / "results").keys() == STAGES.keys()
    figures = [item for values in metrics.values() for item in flatten(values).items()]
    assert 15 <= len(figures) <= MOST_METRICS
    assert {type(value) for _, value in figures} == {int, float}
    names = {name for name, _ in figures}
    assert len(names) == len(figures)  # DVC puts the file's name before one that two files have


@pytest.mark.parametrize("stage", STAGES)
def test_every_headline_of_a_stage_is_measured(built, stage):
    headlines = importlib.import_module(STAGES[stage]).HEADLINES
    results, metrics = (read_all(built.root / folder)[stage] for folder in ("results", "metrics"))
    assert metrics == select(results, headlines)
    assert [name for name in headlines if not select(results, (name,))] == []


def charts_of(told: str) -> dict[str, list[dict]]:
    """Points of each chart in what `dvc plots --json` says; each chart is there once."""
    charts = json.loads(told)["data"]
    assert all(len(chart) == 1 for chart in charts.values())
    return {name: chart["content"]["data"]["values"] for name, [chart] in charts.items()}


def test_each_training_has_one_chart_with_both_curves_and_no_empty_value(project):
    charts = charts_of(project.run("dvc", "plots", "show", "--json").stdout)
    assert charts.keys() == {f"loss of {stage}" for stage in TRAININGS}
    for points in charts.values():
        fields = [point["filename::field"] for point in points]
        assert set(fields) == {"train.csv::train_loss", "val.csv::val_loss"}
        assert all(float(point["dvc_inferred_y_value"]) > 0.5 for point in points)
    project.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (project.root / "dvc_plots" / "index.html").read_text()
    assert re.findall(r"vegaEmbed\('#(\w+)'", page) == [f"loss_of_{stage}" for stage in TRAININGS]
    assert project.run("git", "status", "--porcelain").stdout == ""


def test_an_experiment_is_shown_compared_and_brought_up_to_date(project):
    [readme] = [
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith("dvc exp show")
    ]
    project.run("dvc", "exp", "run", "-q", "-S", "finetune.lr=0.004", "-n", "slower", "finetune")
    shown = project.run("bash", "-c", readme, env={"COLUMNS": "300"}).stdout
    assert max(map(len, shown.splitlines())) <= TERMINAL, shown
    assert "slower" in shown
    assert "finetune.lr" in shown
    assert "new_domain.after.bits_per_byte" in shown
    charts = charts_of(project.run("dvc", "plots", "diff", "HEAD", "--json").stdout)
    assert {point["rev"] for point in charts["loss of finetune"]} == {"HEAD", "workspace"}

    stale = json.loads(project.run("dvc", "status", "--json").stdout)
    assert set(stale) == {"evaluate", "quantize", "export", "manifest"}
    project.run("git", "restore", ".")
    project.run("dvc", "checkout", "-q")
    assert json.loads(project.run("dvc", "status", "--json").stdout) == {}
    project.run("dvc", "exp", "apply", "slower")
    assert set(json.loads(project.run("dvc", "status", "--json").stdout)) == set(stale)
    project.repro()
    assert json.loads(project.run("dvc", "status", "--json").stdout) == {}
