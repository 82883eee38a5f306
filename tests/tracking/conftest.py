import pytest

from minigpt.tracking import store as stores


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
