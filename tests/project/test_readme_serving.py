"""README's "Serve it": the server, the line of curl, the line of Python, the page."""

import json
import signal
import subprocess
import urllib.request

import pytest

from tests.patience import patience, until
from tests.project.readme import BLOCKS, block_with, free_port

SERVE = "minigpt serve"
[CURL] = [block[0] for block in BLOCKS if block[0].startswith("curl -s localhost:8000/generate")]
[OPENAI] = [block[0] for block in BLOCKS if block[0].startswith("python -c 'from openai")]
COMMANDS = [SERVE, CURL, OPENAI]


@pytest.fixture
def serve(registered, tmp_path):
    """A function that starts README's server with options, and gives its address."""
    servers = []

    def start(*options):
        [command], port = block_with(SERVE), free_port()
        with (tmp_path / "log").open("w") as log:
            servers.append(
                subprocess.Popen(
                    ["bash", "-c", f"exec {' '.join([command, '--port', str(port), *options])}"],
                    cwd=registered.root, env=registered.environment(), stdout=log, stderr=log,
                    start_new_session=True,
                )
            )  # fmt: skip
        said = tmp_path / "log"
        until(lambda: "ready in" in said.read_text() or servers[-1].poll() is not None)
        assert "ready in" in said.read_text(), said.read_text()
        return port

    yield start
    for server in servers:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=patience(60)) == 0, (tmp_path / "log").read_text()


def run_there(project, port, command):
    return project.run("bash", "-c", command.replace("8000", str(port))).stdout


def test_curl_and_openais_client_are_answered(registered, serve):
    port = serve()
    answer = json.loads(run_there(registered, port, CURL))
    assert answer["generated"]
    assert answer["version"] == "minigpt-tiny 1"
    assert run_there(registered, port, OPENAI).strip()


def test_the_page_is_there(serve):
    port = serve("--ui")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as page:
        assert "gradio" in page.read().decode().lower()
