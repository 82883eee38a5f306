"""onnxruntime reports each session to Microsoft unless told not to before it is imported."""

import os
import subprocess
import sys

import pytest

from minigpt.export.config import ExportConfig
from minigpt.export.exporters import EXPORTERS

DECODE = """
import sys
from pathlib import Path
from minigpt.export.formats.onnx import decode

decode(Path(sys.argv[1], "model.onnx"), 1)
"""


@pytest.fixture(scope="session")
def folder(package, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    EXPORTERS["onnx"].export(package, out, ExportConfig())
    return out


@pytest.mark.parametrize("who", ["the example", "the stage"])
def test_onnxruntime_leaves_no_identifier_in_the_home_folder(folder, who, tmp_path):
    command = {
        "the example": [str(folder / "example.py"), "The quick brown fox"],
        "the stage": ["-c", DECODE, str(folder)],
    }[who]
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / ".cache")}
    paths = {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, *command], env=environment | home | paths, check=True)
    # There it also keeps what it has not sent yet.
    assert not [path for path in tmp_path.rglob("*") if "icrosoft" in path.name]
