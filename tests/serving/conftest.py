"""A real server on a free port, before a tiny model whose weights are all in use."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import torch

from minigpt.digest import digest
from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS
from minigpt.export.manifest import write_manifest
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig
from tests.patience import patience, until

ROOT = Path(__file__).resolve().parents[2]
SIZES = ModelConfig(n_layer=2, n_embd=64, n_head=4, n_kv_head=2, mlp_dim=128, context_length=48)
TEXT = "The quick brown fox jumps over the lazy dog, and the dog’s dream goes on.\n"
KEY = "a-key-of-the-tests-0123456789"
NO_ENVIRONMENT = ("MINIGPT_", "MLFLOW_", "OPENAI_")


def make_export(out: Path, seed: int) -> Path:
    """An ONNX export of a model that writes anything but control tokens."""
    Tokenizer.train([TEXT * 3], TokenizerConfig(vocab_size=300)).save(out / "tokenizer")
    model = build_model(SIZES, vocab_size=300, seed=0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    save_package(out / "models" / "tiny", model, out / "tokenizer")
    package = load_package(out / "models" / "tiny")
    folder = out / "exports" / "onnx"
    folder.mkdir(parents=True)
    EXPORTERS["onnx"].export(package, folder, ExportConfig())
    write_manifest(folder, "onnx", package, digest(package.path), {}, "", {})
    return folder


@pytest.fixture(scope="session")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export. Read only."""
    return make_export(tmp_path_factory.mktemp("served"), seed=1)


@pytest.fixture(scope="session")
def other_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model's. Read only."""
    return make_export(tmp_path_factory.mktemp("served_too"), seed=2)


@dataclass
class Served:
    """`minigpt serve`, running."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    """Lines of stdout and stderr."""
    key: str | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return next(m[1] for line in self.said if (m := re.search(r"API +(http\S+)/v1", line)))

    @property
    def port(self) -> int:
        """The port of it."""
        return int(self.url.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        """What a request must carry."""
        return {} if self.key is None else {"authorization": f"Bearer {self.key}"}

    def client(self, **options: Any) -> httpx.Client:
        """A client of it."""
        return httpx.Client(
            base_url=self.url, headers=self.headers, timeout=patience(60), trust_env=False,
            **options,
        )  # fmt: skip

    def post(self, path: str, **body: Any) -> httpx.Response:
        """One request."""
        with self.client() as client:
            return client.post(path, json=body)

    def get(self, path: str) -> httpx.Response:
        """One request."""
        with self.client() as client:
            return client.get(path)

    def generate(self, prompt: str, **settings: Any) -> dict[str, Any]:
        """What /generate gives."""
        answer = self.post("/generate", prompt=prompt, **settings)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if "minigpt.serving.worker" in child.cmdline()]

    def text(self) -> str:
        """All that it said."""
        return "\n".join(self.said)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Tell it to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(patience(60))


@contextlib.contextmanager
def serving(
    *arguments: str | Path,
    key: str | None = None,
    cwd: Path | None = None,
    ready: bool = True,
    env: dict[str, str] | None = None,
) -> Iterator[Served]:
    """A server for the length of a block."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(NO_ENVIRONMENT)}
    keys = {} if key is None else {"MINIGPT_API_KEYS": f"tests:{key}"}
    ours = {"PYTHONPATH": str(ROOT), "MINIGPT_KEY": "none", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "minigpt.cli.main", "serve", *map(str, arguments), "--port", "0"],
        cwd=cwd, env={**inherited, **ours, **keys, **(env or {})}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    served = Served(process, key=key)

    def listen() -> None:
        for line in process.stdout or ():
            served.said.append(line.rstrip("\n"))

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        if ready:
            until(lambda: "ready in" in served.text() or process.poll() is not None)
            assert process.poll() is None, served.text()
        yield served
    finally:
        process.kill()
        process.wait()
        listener.join(5)


@pytest.fixture(scope="session")
def server(export: Path) -> Iterator[Served]:
    """One server for all tests that leave it as it was."""
    with serving(export) as served:
        yield served


@pytest.fixture
def copied(export: Path, tmp_path: Path) -> Path:
    """The export, to be changed."""
    return Path(shutil.copytree(export, tmp_path / "export"))
