"""schemathesis against the running server: every answer is one that openapi.json promises."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = Path(__file__).with_name("schemathesis.toml")


def schemathesis(server, tmp_path, *arguments):
    """Run it, all its checks on all routes."""
    tool = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [tool, "--config-file", CONFIG, "run", f"{server.url}/openapi.json", "--checks", "all",
         "--seed", "1", "--generation-database", "none", "--continue-on-failure",
         *arguments],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Traceback" not in server.text()
    [worker] = server.workers()
    assert worker.is_running()


def test_what_it_invents_meets_what_the_schema_promises(server, tmp_path):
    schemathesis(server, tmp_path, "--phases", "fuzzing", "--max-examples", "15")


@pytest.mark.prove
def test_nor_does_it_find_anything_in_all_its_phases(server, tmp_path):
    schemathesis(server, tmp_path, "--max-examples", "200")
