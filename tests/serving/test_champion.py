"""The alias is followed: swapped and rolled back under load, without a request that fails."""

import threading
from collections import Counter

import pytest

from tests.patience import until
from tests.serving.champions import add_version, crown, registry_of
from tests.serving.conftest import serving


class Load:
    """Clients that ask again and again, and what they were told."""

    def __init__(self, server, clients=4):
        self.server, self.failed, self.versions = server, [], Counter()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(i,)) for i in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, number):
        stream = number % 2 == 1
        body = {"prompt": "The", "max_tokens": 20, "ignore_end": True, "stream": stream}
        with self.server.client() as client:
            while not self._over.is_set():
                answer = client.post("/generate", json=body)
                whole = '"done":true' in answer.text if stream else '"generated"' in answer.text
                if answer.status_code != 200 or not whole or '"error"' in answer.text:
                    self.failed.append(answer.text)
                self.versions[answer.headers["x-minigpt-version"]] += 1

    def until_all_are(self, version):
        """Return when a full round of answers is of that version."""

        def only_it():
            before = Counter(self.versions)
            until(lambda: sum(self.versions.values()) >= sum(before.values()) + 12)
            return set(Counter(self.versions) - before) == {version}

        until(only_it)


@pytest.fixture(scope="module")
def root(registered_once, tmp_path_factory):
    import shutil

    from minigpt.tracking.relocate import relocate

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        root = tmp_path_factory.mktemp("champion") / "copy"
        shutil.copytree(registered_once.root, root, symlinks=True)
        relocate(root)
        add_version(root)
        add_version(root, damaged=True)
        yield root


def test_a_champion_is_swapped_and_rolled_back_under_load(root):
    name = registry_of(root).name
    with serving(cwd=root) as server, Load(server) as load:
        assert f"champion = {name} 1 (" in server.text()
        load.until_all_are(f"{name} 1")
        crown(root, "2")
        until(lambda: f"{name} 2 is champion now: " in server.text())
        load.until_all_are(f"{name} 2")
        assert "finish" in server.text()
        assert server.text().rstrip().endswith("new ones go to 2")
        until(lambda: len(server.workers()) == 1)
        crown(root, "3")  # damaged: nothing changes
        until(lambda: f"{name} 3 is champion now and cannot be served" in server.text())
        load.until_all_are(f"{name} 2")
        crown(root, "1")
        until(lambda: f"{name} 1 is champion now: " in server.text())
        load.until_all_are(f"{name} 1")
        for model in ("champion", f"{name}-1", "minigpt", name):
            said = server.generate("x", max_tokens=1, model=model)
            assert said["version"] == f"{name} 1"
        assert server.post("/generate", prompt="x", model=f"{name}-2").status_code == 404
    assert load.failed == []
    assert set(load.versions) == {f"{name} 1", f"{name} 2"}
    assert "Traceback" not in server.text()


def test_a_version_is_served_by_its_number_beside_the_champion(root):
    crown(root, "1")
    name = registry_of(root).name
    with serving("--also", "2", cwd=root) as server:
        assert [card["id"] for card in server.get("/v1/models").json()["data"]] == [
            f"{name}-1", f"{name}-2",
        ]  # fmt: skip
        assert server.generate("x", max_tokens=1, model="2")["version"] == f"{name} 2"
        assert server.generate("x", max_tokens=1, model="champion")["version"] == f"{name} 1"
