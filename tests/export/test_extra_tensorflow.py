"""TensorFlow in an environment made for it: 1.3 GB that no other test needs."""

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from minigpt.package import save_package

from .test_examples import PROMPT, ours

pytestmark = pytest.mark.prove
ROOT = Path(__file__).parents[2]
WRITE = """
import sys
from pathlib import Path
from minigpt.export.config import ExportConfig
from minigpt.export.formats.tensorflow import ENTRY
from minigpt.package import load_package
ENTRY.export(load_package(Path(sys.argv[1])), Path(sys.argv[2]), ExportConfig())
"""
ALONE = """
import importlib.util, runpy, sys
assert not any(map(importlib.util.find_spec, ("torch", "minigpt")))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="session")
def python(tmp_path_factory):
    """A Python with the extra and tokenizers alone, in versions that fit beside our own."""
    folder = tmp_path_factory.mktemp("tensorflow")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    name = "Scripts/python.exe" if sys.platform == "win32" else "bin/python"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["optional-dependencies"]["tensorflow"], "tokenizers"]
    pins = [
        f"{package.name}=={package.version}"
        for package in importlib.metadata.distributions()
        if "+" not in package.version
    ]
    (folder / "pins.txt").write_text("\n".join(pins))
    install = ["-m", "pip", "install", "-q", "-c", folder / "pins.txt", *wanted]
    subprocess.run([folder / "venv" / name, *install], check=True)
    return folder / "venv" / name


def run(python, *arguments, cwd, path=()):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [python, *map(str, arguments)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_holds_of_every_format_holds_of_a_saved_model(python):
    chosen = ["-k", "tensorflow", "-m", "prove or not prove", "-p", "no:cacheprovider"]
    tests = ["-m", "pytest", "tests/export", "-q", *chosen, f"--ignore={__file__}"]
    said = run(python, *tests, cwd=ROOT, path=[ROOT, *sys.path])
    assert " skipped" not in said
    assert " passed" in said


def test_without_torch_the_example_writes_our_greedy_text(python, plain, tmp_path):
    save_package(tmp_path / "package", plain.model, plain.path)
    out = tmp_path / "saved"
    out.mkdir()
    run(python, "-c", WRITE, tmp_path / "package", out, cwd=ROOT, path=[ROOT, *sys.path])
    said = run(python, "-c", ALONE, out / "example.py", PROMPT, cwd=tmp_path)
    assert said == f"{PROMPT}{ours(plain, PROMPT, plain.config.context_length // 2)}\n"
