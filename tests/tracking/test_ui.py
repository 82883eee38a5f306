"""The first page of MLflow as `make up` serves it."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def ui():
    [entry] = {entry.value for entry in entry_points(group="mlflow.app", name="minigpt")}
    assert entry == "minigpt.tracking.ui:app"  # what `mlflow ui --app-name minigpt` looks for
    from minigpt.tracking import ui

    return ui


def test_a_browser_that_remembers_nothing_begins_with_model_training(ui):
    page = ui.pages.test_client().get("/").get_data(as_text=True)
    assert 'localStorage.setItem("mlflow.workflowType_v1", "\\"machine_learning\\"")' in page
    assert page.index("localStorage") < page.index("static-files/static/js/main")


def test_mlflow_still_remembers_under_these_names(ui):
    """Where another MLflow fails this, look up what its pages call the switch."""
    scripts = Path(ui.pages.static_folder).glob("static/js/*.js")
    code = "".join(path.read_text(encoding="utf-8") for path in scripts)
    for key in ui.REMEMBERED:
        name, _, version = key.rpartition("_v")
        assert f'key:"{name}",version:{version},' in code
    assert 'MACHINE_LEARNING="machine_learning"' in code
