"""Write docs/images/*.png: what MLflow, DVC and Prefect show of a build, in a headless Chromium.

    PYTHONPATH=. .venv/bin/python docs/make_screenshots.py          # preset tiny, a fresh clone
    PYTHONPATH=. .venv/bin/python docs/make_screenshots.py --here   # this checkout, as it is

Fails where a page shows no content, or where MLflow's pages speak of GenAI. Needs a Chromium
(Debian: apt-get install chromium; else CHROMIUM=PATH) and, for the pictures to stay small, Pillow,
which comes with the project's plots. Neither is a dependency of its own.
"""

import argparse
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from websockets.sync.client import ClientConnection, connect

from minigpt.params import PARAMS, Params, load_params
from minigpt.process import quiet_environment
from minigpt.tracking.store import EXPERIMENT
from pipelines.services import read_up

HERE = Path(__file__).resolve().parent
IMAGES = HERE / "images"
SIZE = (1400, 1050)
LARGEST = 200_000  # bytes of a picture
CONTENT_SECONDS = 240.0
GENAI = (
    "Evaluation runs", "Agent versions", "Sessions", "Judges", "Prompts", "Playground",
    "Ask questions about",
)  # fmt: skip
"""What MLflow's pages say of GenAI. Its switch, its tab Traces and the button of its assistant are
on every page."""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
CURVES = "document.querySelectorAll('.js-plotly-plot .scatterlayer .trace').length >= 2"


@dataclass(frozen=True)
class Shot:
    """One page."""

    name: str
    url: str
    content: str
    """A JavaScript expression: true once the page shows what it is there for."""
    forbidden: tuple[str, ...] = ()
    """Words that it must not show."""


class Page:
    """A tab of the browser, by Chromium's DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._calls = socket, 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask the browser; what it says unasked is passed over."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=CONTENT_SECONDS))
            if answer.get("id") == self._calls:
                return dict(answer["result"])

    def value(self, expression: str) -> Any:
        """What a JavaScript expression comes to; None where it fails."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return done["result"].get("value")

    def open(self, shot: Shot) -> str:
        """Go there and wait for the content. Returns the text that a person sees."""
        self.call("Page.navigate", url="about:blank")  # else another fragment loads no page
        self.call("Page.navigate", url=shot.url)
        deadline = time.monotonic() + CONTENT_SECONDS
        while not self.value(shot.content):
            if time.monotonic() > deadline:
                raise SystemExit(f"{shot.name}: {shot.url} shows no content: {self.text()[:500]}")
            time.sleep(0.3)
        time.sleep(2.0)  # what slides in
        return self.text()

    def text(self) -> str:
        """The text that a person sees."""
        return str(self.value("document.body.innerText") or "")

    def picture(self) -> bytes:
        """A PNG of what is in the window."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


@contextlib.contextmanager
def browser(chromium: str) -> Iterator[Page]:
    """A headless browser that remembers nothing."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        size = f"--window-size={SIZE[0]},{SIZE[1]}"
        process = subprocess.Popen(
            [chromium, *FLAGS, size, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            listens = Path(profile, "DevToolsActivePort")
            deadline = time.monotonic() + CONTENT_SECONDS
            while not (listens.is_file() and len(listens.read_text().split()) > 1):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{chromium} does not start")
                time.sleep(0.1)
            tabs = ask(f"http://127.0.0.1:{listens.read_text().split()[0]}/json")
            [tab] = [tab for tab in tabs if tab["type"] == "page"]
            with connect(tab["webSocketDebuggerUrl"], max_size=None) as socket:
                page = Page(socket)
                page.call("Page.enable")
                yield page
        finally:
            process.terminate()
            process.wait()


def find_chromium() -> str:
    """The browser; ends the script where there is none."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if path is None:
        sys.stderr.write("no Chromium: apt-get install chromium, or CHROMIUM=PATH\n")
        sys.exit(2)
    return path


def main() -> int:
    """Build, open every page, and write its picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--here", action="store_true", help="of this checkout, as it is built")
    parser.add_argument("--out", type=Path, default=IMAGES)
    options = parser.parse_args()
    quiet_environment()
    chromium = find_chromium()
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as open_things:
        root = HERE.parent
        if not options.here:
            folder = Path(open_things.enter_context(tempfile.TemporaryDirectory()))
            root = fresh_build(HERE.parent, folder / "minigpt")
        up = open_things.enter_context(services(root))
        page = open_things.enter_context(browser(chromium))
        for shot in (*mlflow_pages(root, up["mlflow"]), plots(root), prefect_run(up["prefect"])):
            text = page.open(shot)
            if said := [word for word in shot.forbidden if word in text]:
                raise SystemExit(f"{shot.name}: the page says {said}: {text}")
            path = options.out / f"{shot.name}.png"
            write(path, page.picture())
            sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")
    return 0


def fresh_build(source: Path, root: Path) -> Path:
    """A clone of what is committed, with preset tiny built by the flow."""
    subprocess.run(["git", "clone", "-q", str(source), str(root)], check=True)
    run(root, "-m", "minigpt.cli.main", "preset", "tiny")
    identity = ("-c", "user.name=screenshots", "-c", "user.email=screenshots@localhost")
    subprocess.run(["git", *identity, "commit", "-qam", "tiny"], cwd=root, check=True)
    run(root, "-m", "pipelines.run")
    return root


def run(root: Path, *arguments: str) -> None:
    """Run a Python of ours in a checkout."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    subprocess.run(
        [sys.executable, *arguments], cwd=root, env=os.environ | {"PATH": path}, check=True
    )


@contextlib.contextmanager
def services(root: Path) -> Iterator[dict[str, str]]:
    """Name -> address of what `make up` starts; what was up before stays so."""
    was_up = read_up(root) is not None
    run(root, "-m", "pipelines.up")
    try:
        yield {name: s["url"] for name, s in (read_up(root) or {})["services"].items()}
    finally:
        if not was_up:
            run(root, "-m", "pipelines.up", "--down")


def mlflow_pages(root: Path, url: str) -> list[Shot]:
    """The experiment, the run that pretrained the newest version, its model and the version."""
    name = load_params(Params, root / PARAMS).release.name
    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    versions = client.search_model_versions(f"name = '{name}'", order_by=["version_number DESC"])
    version = versions[0]
    [experiment_id] = [e.experiment_id for e in client.search_experiments() if e.name == EXPERIMENT]
    models = client.search_logged_models([experiment_id])
    [made] = [model for model in models if model.artifact_location == version.source]
    experiment = f"{url}/#/experiments/{experiment_id}"
    [run] = client.search_runs([experiment_id], "tags.`minigpt.stage` = 'pretrain'", max_results=1)
    return [
        Shot("mlflow-experiment", f"{experiment}/runs", says(f"pipeline · {name}"), GENAI),
        Shot("mlflow-run", f"{experiment}/runs/{run.info.run_id}/model-metrics", CURVES, GENAI),
        Shot("mlflow-model", f"{experiment}/models/{made.model_id}", says("bits_per_byte"), GENAI),
        Shot(
            "mlflow-version",
            f"{url}/#/models/{name}/versions/{version.version}",
            says("bits per byte"),
            GENAI,
        ),
    ]


def says(text: str) -> str:
    """True once the page shows a text."""
    return f"document.body.innerText.includes({json.dumps(text)})"


def plots(root: Path) -> Shot:
    """The page of `dvc plots show`."""
    run(root, "-m", "dvc", "plots", "show", "-q", "-o", ".work/plots")
    page = (root / ".work" / "plots" / "index.html").resolve().as_uri()
    return Shot("dvc-plots", page, "document.querySelectorAll('canvas, svg.marks').length > 0")


def prefect_run(url: str) -> Shot:
    """The run of the flow `build` that did the most."""
    query = {
        "flows": {"name": {"any_": ["release", "build"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "START_TIME_DESC",
        "limit": 20,
    }
    runs = ask(f"{url}/api/flow_runs/filter", query)
    if not runs:
        raise SystemExit("no run of the flow build has been completed yet: make run")
    longest = max(runs, key=lambda run: run["total_run_time"])
    return Shot("prefect-run", f"{url}/runs/flow-run/{longest['id']}", says("pretrain"))


def ask(url: str, query: object = None) -> Any:
    """A server's answer; with a query, that is posted."""
    data = None if query is None else json.dumps(query).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  our own servers
        return json.load(answer)


def write(path: Path, png: bytes) -> None:
    """Keep a picture, with the palette that it needs and no more."""
    path.write_bytes(png)
    with contextlib.suppress(ImportError):
        from PIL import Image

        Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)
    if path.stat().st_size > LARGEST:
        sys.stderr.write(f"{path} is larger than {LARGEST} bytes\n")


if __name__ == "__main__":
    sys.exit(main())
