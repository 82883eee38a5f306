"""`minigpt serve` before it serves: bad input is one clear line, and nothing is started."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.serving.conftest import KEY, NO_ENVIRONMENT, ROOT, serving

MAPS = ("libtorch", "onnxruntime")


def refused(*arguments, cwd, code=2, env=None):
    """The one line that a refused command says."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(NO_ENVIRONMENT)}
    done = subprocess.run(
        [sys.executable, "-m", "minigpt.cli.main", "serve", *map(str, arguments)],
        cwd=cwd, env={**inherited, "PYTHONPATH": str(ROOT), **(env or {})},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, (done.returncode, done.stderr)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    return line


def test_what_it_says_when_it_starts(server, export):
    first, second, *_ = server.said
    digest = server.generate("x", max_tokens=1)["sha256"]
    assert first.startswith(f"{export} ({digest[:4]}…{digest[-2:]}) · onnxruntime int8, 16 streams")
    assert first.endswith("loopback only (set MINIGPT_API_KEYS to open it)")
    assert re.fullmatch(
        r"  API       http://127\.0\.0\.1:\d+/v1   \(OpenAI's shape\)   ·   POST /generate   ·   "
        r"/docs   ·   /metrics",
        second,
    )
    ready = next(line for line in server.said if line.startswith("ready"))
    assert re.fullmatch(r"ready in [\d.]+ s · Ctrl-C drains and ends", ready)


def test_ctrl_c_ends_it_well(export):
    with serving(export) as server:
        assert server.end(signal.SIGINT) == 0
        assert server.said[-1] == "ended"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc here")
def test_the_server_process_loads_neither_torch_nor_onnxruntime(server):
    [worker] = server.workers()

    def loaded(process):
        paths = " ".join(region.path for region in process.memory_maps())
        return [word for word in MAPS if word in paths]

    assert loaded(psutil.Process(server.process.pid)) == []
    assert loaded(worker) == ["onnxruntime"]


def test_an_unknown_folder_or_version_is_refused(tmp_path):
    assert "no version of minigpt is registered" in refused(cwd=tmp_path)
    assert "make run" in refused("3", cwd=tmp_path)
    assert "names no version" in refused("a b", cwd=tmp_path)
    assert "neither a package" in refused("no/such", cwd=tmp_path)


def test_an_export_that_was_tampered_with_is_refused(copied):
    with (copied / "model_int8.onnx").open("ab") as file:
        file.write(b"x")
    line = refused(copied, cwd=copied.parent)
    assert "model_int8.onnx: not what was exported" in line
    assert "dvc checkout" in line


def test_an_export_of_which_a_file_is_missing_is_refused(copied):
    (copied / "model_int8.onnx").unlink()
    assert "missing. Run: dvc repro export" in refused(copied, cwd=copied.parent)


def test_a_damaged_export_is_refused_by_its_worker(copied):
    data = b"nonsense"
    (copied / "model_int8.onnx").write_bytes(data)
    manifest = json.loads((copied / "manifest.json").read_text())
    import hashlib

    manifest["files"]["model_int8.onnx"] = hashlib.sha256(data).hexdigest()
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with serving(copied, ready=False) as server:
        assert server.process.wait(300) == 2
    assert "not an ONNX export" in server.said[-1]
    assert "Traceback" not in server.text()


def test_a_package_of_a_newer_format_is_refused(export, tmp_path):
    import shutil

    package = Path(shutil.copytree(export.parents[1] / "models" / "tiny", tmp_path / "package"))
    value = json.loads((package / "model.json").read_text())
    value["format"] = 999
    (package / "model.json").write_text(json.dumps(value))
    with serving(package, "--engine", "torch", ready=False) as server:
        assert server.process.wait(300) == 2
    assert "999" in server.said[-1]
    assert "Traceback" not in server.text()


def test_an_engine_that_is_none_or_does_not_fit_is_refused(export, tmp_path):
    assert "expected auto, onnx-int8" in refused(export, "--engine", "magic", cwd=tmp_path)
    assert "engine torch runs a package" in refused(export, "--engine", "torch", cwd=tmp_path)


def test_a_port_in_use_is_refused_with_another(export, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(export, "--port", port, cwd=tmp_path)
    assert line.startswith(f"port {port} of 127.0.0.1: ")
    assert f"--port {port + 1}" in line


def test_nobody_opens_it_without_keys(export, tmp_path):
    line = refused(export, "--host", "0.0.0.0", cwd=tmp_path)
    assert "MINIGPT_API_KEYS" in line
    with serving(export, "--host", "0.0.0.0", key=KEY) as server:
        assert server.get("/v1/models").status_code == 200
        assert "with keys" in server.said[0]


def test_bad_keys_hosts_and_origins_are_refused(export, tmp_path):
    line = refused(export, cwd=tmp_path, env={"MINIGPT_API_KEYS": "alice:short"})
    assert "at least 16" in line
    assert "--host no.such.host.invalid" in refused(
        export, "--host", "no.such.host.invalid", cwd=tmp_path
    )
    assert "https://example.org" in refused(export, "--cors", "example.org", cwd=tmp_path)


def test_two_models_are_served_side_by_side(export, other_export):
    with serving(export, "--also", other_export) as server:
        cards = server.get("/v1/models").json()["data"]
        assert [card["ref"] for card in cards] == [str(export), str(other_export)]
        texts = {
            ref: server.generate("The", max_tokens=20, seed=1, model=ref)
            for ref in (str(export), str(other_export))
        }
        assert {said["version"] for said in texts.values()} == set(texts)
        assert len({said["generated"] for said in texts.values()}) == 2
        assert server.generate("The", max_tokens=1)["version"] == str(export)
