"""A tiny model that was exported, as a checkout holds it, and commands on it in this process."""

import json
import os
import signal

import pytest
import torch
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.digest import digest
from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.export.manifest import write_manifest
from minigpt.generation.scheduler import Scheduler
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.patterns import PATTERNS, SPECIALS

CONTEXT = 64
SMALL = ModelConfig(
    n_layer=1, n_embd=32, n_head=2, n_kv_head=1, mlp_dim=32, context_length=CONTEXT
)  # fmt: skip


def make_model(root, seed):
    """models/finetuned and exports/onnx in `root`, of random weights; the path of the package."""
    specials = {text: 256 + i for i, text in enumerate(SPECIALS)}
    letters = {bytes([i]): i for i in range(256)}
    tokenizer = Tokenizer(letters, next(iter(PATTERNS.values())), specials)
    tokenizer.save(root / "models" / "tokenizer")
    folder, export = root / "models" / "finetuned", root / "exports" / "onnx"
    model = build_model(SMALL, tokenizer.vocab_size, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # as built, every token is about as likely as any other
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.3)
    save_package(folder, model, root / "models" / "tokenizer")
    export.mkdir(parents=True)
    EXPORTERS["onnx"].export(load_package(folder), export, ExportConfig())
    write_manifest(export, "onnx", load_package(folder), digest(folder), {}, "", {})
    return str(folder)


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("checkout"), seed=0)


@pytest.fixture(scope="session")
def other_package(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("another"), seed=1)


@pytest.fixture
def minigpt(package):
    """`minigpt COMMAND -m PACKAGE …` in this process; our errors are raised."""

    def run(command, *arguments, stdin=None, model=package):
        typed = [command, "-m", model, *map(str, arguments)]
        return CliRunner().invoke(app, typed, input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def written(minigpt):
    """What `generate --json` tells."""

    def run(*arguments, **given):
        done = minigpt("generate", "--json", *arguments, **given)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return run


def interrupt_at(monkeypatch, turn):
    """Press Ctrl-C at a turn of the scheduler."""
    real, turns = Scheduler.turn, iter(range(turn))

    def counted(self):
        if next(turns, None) is None:
            os.kill(os.getpid(), signal.SIGINT)
            monkeypatch.setattr(Scheduler, "turn", real)
        return real(self)

    monkeypatch.setattr(Scheduler, "turn", counted)
