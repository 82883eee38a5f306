import socket

import pytest

from minigpt.tracking import silence
from minigpt.tracking import store as stores
from minigpt.tracking.mlflow_tracker import JOURNAL


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MINIGPT_PARENT_RUN", raising=False)


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    """A checkout whose store was made once for all tests (making one takes seconds)."""
    root = tmp_path_factory.mktemp("tracked checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        stores.open_store(root)
    return root


@pytest.fixture(scope="session")
def store(root):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return stores.open_store(root)


@pytest.fixture(scope="session")
def run_of(store):
    """A function that gives the one run of a journal."""

    def only_run(journal):
        query = f"tags.`{JOURNAL}` = '{journal.id}'"
        [run] = store.client.mlflow.search_runs([store.experiment_id], query)
        return run

    return only_run


@pytest.fixture
def silent(monkeypatch):
    """The address of a server that accepts and never answers."""
    monkeypatch.setattr(silence, "ANSWER_SECONDS", 0.1)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        yield address
