"""`make run` on the default preset, as a stranger types it: minutes, so behind `make prove`."""

import json
import os
import runpy
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.prove
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "own_text.py"


@pytest.fixture(scope="module")
def stranger(make_checkout, tmp_path_factory):
    """A checkout with nothing set up, and what `make run` said in it."""
    project = make_checkout(tmp_path_factory.mktemp("stranger") / "minigpt")
    return project, make(project, "run")


def run(project, command):
    """As a person types it, who has none of the environment of a make around this test."""
    ours = ("PYTHONPATH", "MINIGPT_", "MAKE", "MFLAGS", "ARGS")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    return subprocess.run(
        command,
        shell=True,
        cwd=project.root,
        env=inherited,
        capture_output=True,
        text=True,
        check=False,
    )


def make(project, target):
    done = run(project, f"make {target}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_stranger_gets_a_registered_model_that_beats_the_baselines(stranger):
    project, said = stranger
    assert "minigpt 1 · champion" in said
    metrics = json.loads((project.root / "results" / "evaluate.json").read_text())
    base = metrics["base"]["shakespeare"]["bits_per_byte"]
    for name in ("uniform", "unigram", "ngram", "xz", "zstd"):
        assert base < metrics["baselines"][name]["shakespeare"]["bits_per_byte"]
    tuned = metrics["finetuned"]["sotu"]["bits_per_byte"]
    assert tuned < metrics["base"]["sotu"]["bits_per_byte"]
    marks = {"ppmd": 2.042, "xz": 2.530, "zstd": 2.551}
    for name, mark in marks.items():
        assert abs(metrics["baselines"][name]["shakespeare"]["bits_per_byte"] - mark) < 0.03


def test_rounding_costs_little_for_the_bytes_it_saves(stranger):
    project, _ = stranger
    results = json.loads((project.root / "results" / "quantize.json").read_text())
    for kind, share, loss in (("int8", 1 / 3, 0.003), ("int4", 1 / 4, 0.015)):
        assert results[kind]["bytes"] <= share * results["fp32"]["bytes"]
        assert all(span["high"] <= loss for span in results[kind]["relative_interval"].values())


def test_the_second_run_finds_every_stage_unchanged(stranger):
    project, _ = stranger
    assert "10 of 10 stages unchanged · version 1 is champion" in make(project, "run")


def test_the_commands_printed_at_the_end_work(stranger):
    project, said = stranger
    block = said.split("Next\n")[1].split("\n\n")[0]  # a note may follow
    commands = [line.split("  ")[1] for line in block.splitlines()]
    assert len(commands) == 3
    try:
        for command in commands:
            done = run(project, command)
            assert done.returncode == 0, done.stdout + done.stderr
    finally:
        make(project, "down")  # one of them is make up


def test_set_up_again_does_nothing(stranger):
    project, _ = stranger
    assert "up to date" in make(project, "setup")


@pytest.mark.parametrize("name", ["20k", "130k", "1m"])
def test_own_text_ends_as_champion_below_the_base(stranger, tmp_path, name):
    """Text that the base never saw, with no edit but the preset."""
    project, _ = stranger
    folder = tmp_path / f"text-{name}"
    folder.mkdir()
    texts = runpy.run_path(str(BENCHMARK))["texts"](project.root / ".cache" / "archives")
    for file, text in texts[name].items():
        (folder / file).write_bytes(text)
    done = run(project, f".venv/bin/minigpt preset local --path {folder}")
    assert done.returncode == 0, done.stderr
    assert f"minigpt-text-{name} 1 · champion" in make(project, "run")
    results = json.loads((project.root / "results" / "evaluate.json").read_text())
    tuned, base = (results[m][f"text-{name}"]["bits_per_byte"] for m in ("finetuned", "base"))
    assert tuned < base


def test_the_settings_for_own_text_are_near_the_best_of_a_grid(stranger):
    """The long text takes a quarter of an hour: python benchmarks/own_text.py CHECKOUT 1m."""
    project, _ = stranger
    done = run(project, f".venv/bin/python {BENCHMARK} {project.root} 20k 130k")
    assert done.returncode == 0, done.stdout + done.stderr
