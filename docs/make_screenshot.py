"""Write docs/images/prefect-run.png: the last run of every stage, as Prefect's UI shows it.

    make up
    PYTHONPATH=. .venv/bin/python docs/make_screenshot.py
    make down

Needs a completed run of the flow in Prefect's database (make run), a Chromium (Debian: apt-get
install chromium; else CHROMIUM=PATH) and, for the picture to stay small, Pillow, which comes with
the project's plots. Neither is a dependency of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from pipelines.services import server_url

OUT = Path(__file__).resolve().parent / "images" / "prefect-run.png"
SIZE = (1280, 1100)
MILLISECONDS = 25_000  # of the page's own clock
LARGEST = 200_000


def main(root: Path) -> int:
    """Find the newest run of every stage and take its picture."""
    api = server_url(root)
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if api is None or chromium is None:
        sys.stderr.write("nothing to show: run `make up` first, and install Chromium\n")
        return 2
    query = {
        "flows": {"name": {"any_": ["release", "build"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}},
        "sort": "START_TIME_DESC",
    }
    runs = [run for run in ask(api, "flow_runs/filter", query) if run["total_run_time"] > 0]
    if not runs:
        sys.stderr.write("no run has been completed yet: make run\n")
        return 1
    tasks = {
        run["id"]: ask(api, "task_runs/count", {"flow_runs": {"id": {"any_": [run["id"]]}}})
        for run in runs[:20]
    }
    ran = max(runs[:20], key=lambda run: (run["total_run_time"], tasks[run["id"]]))
    OUT.parent.mkdir(exist_ok=True)
    take(chromium, f"{api.removesuffix('/api')}/runs/flow-run/{ran['id']}")
    sys.stdout.write(f"{OUT}: {OUT.stat().st_size / 1000:.0f} kB, {tasks[ran['id']]} tasks\n")
    return 0


def ask(api: str, path: str, query: object) -> list[dict] | int:
    """Prefect's answer to a query."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{api}/{path}", json.dumps(query).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310  our own server
        return json.load(answer)


def take(chromium: str, url: str) -> None:
    """A headless browser's picture of `url`, with the palette that it needs and no more."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
            "--no-first-run", "--disable-background-networking", "--disable-component-update",
            "--disable-sync", f"--user-data-dir={folder}/profile", "--hide-scrollbars",
            f"--window-size={SIZE[0]},{SIZE[1]}", f"--virtual-time-budget={MILLISECONDS}",
            f"--screenshot={shot}", url,
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        try:
            from PIL import Image
        except ImportError:
            shutil.copyfile(shot, OUT)
        else:
            Image.open(shot).convert("RGB").quantize(128).save(OUT, optimize=True)
    if OUT.stat().st_size > LARGEST:
        sys.stderr.write(f"{OUT} is larger than {LARGEST} bytes\n")


if __name__ == "__main__":
    sys.exit(main(Path.cwd()))
