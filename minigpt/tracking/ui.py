"""MLflow's pages as `make up` serves them: those of machine learning, until a person switches.

Which of its two faces MLflow shows, GenAI or model training, no server and no tag decides in this
version: each browser remembers its switch, and begins with GenAI. So what a browser remembers is
written into the page, where nothing is remembered yet. `mlflow ui --app-name minigpt` loads it.
"""

import json
from pathlib import Path

from flask import Response
from mlflow.server import app as pages
from mlflow.server.fastapi_app import app

__all__ = ["app"]

REMEMBERED = {
    "mlflow.workflowType_v1": "machine_learning",
    # Else the assistant, which asks a language model, opens itself over half of the first page.
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
}
SCRIPT = "".join(
    f"localStorage.getItem({json.dumps(key)}) ?? "
    f"localStorage.setItem({json.dumps(key)}, {json.dumps(json.dumps(value))});"
    for key, value in REMEMBERED.items()
)


def first_page() -> Response:
    """MLflow's only HTML file, with the script in front of its own."""
    html = (Path(str(pages.static_folder)) / "index.html").read_text(encoding="utf-8")
    page = html.replace("<head>", f"<head><script>{SCRIPT}</script>", 1)
    return Response(page, mimetype="text/html")


pages.view_functions["serve"] = first_page
