import base64
import hashlib
import json
import shutil
import socket

import pytest

from minigpt.data import hub
from minigpt.data.corpora import DownloadParams
from minigpt.data.document import import_datasets, read_documents
from minigpt.data.download import download
from minigpt.data.obtain import cached
from minigpt.data.pin import Pin
from minigpt.data.sources.hf import HubSource
from minigpt.data.sources.npm import NpmSource
from minigpt.errors import DataError

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")


@pytest.fixture
def go(workspace, run):
    def go(source):
        out = workspace / "data"
        download(
            out / "local", out / "archives", out / "raw", DownloadParams(sources={"s": source}), run
        )
        return read_documents(out / "raw")

    return go


@pytest.fixture
def closed() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def npm_source(workspace, server, make_sdist, monkeypatch) -> NpmSource:
    """A package on a loopback registry whose install scripts would leave a mark."""
    text = "".join(f"Line {n}.\n\n" for n in range(200)).encode()
    script = json.dumps({"name": "poems", "version": "1.0.0", "scripts": {
        "prepack": "touch MARK", "prepare": "touch MARK", "install": "touch MARK"}})  # fmt: skip
    data = make_sdist({"package.json": script.encode(), "t/a.txt": text}, top="package/")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    server.files["/poems/-/poems-1.0.0.tgz"] = data
    dist = {"tarball": f"{server.url}/poems/-/poems-1.0.0.tgz", "integrity": integrity}
    version = {"name": "poems", "version": "1.0.0", "dist": dist}
    server.files["/poems"] = json.dumps(
        {"name": "poems", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    ).encode()
    monkeypatch.setenv("npm_config_registry", server.url)
    monkeypatch.setenv("npm_config_cache", str(workspace / "npm-cache"))
    pin = {
        "filename": "poems-1.0.0.tgz",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }
    return NpmSource(
        role="pretrain", licence="MIT", package="poems", version="1.0.0", pin=pin, files=("t/*",)
    )


@needs_npm
def test_an_npm_package_is_read_and_none_of_its_scripts_runs(go, npm_source, workspace):
    assert [d.work for d in go(npm_source)] == ["a", "a (test)", "a (val)"]
    assert list(workspace.rglob("MARK")) == []


@needs_npm
def test_an_npm_package_with_another_sha256_is_refused(go, npm_source):
    pin = npm_source.pin.replace(sha256="0" * 64)
    with pytest.raises(DataError, match=r"sources\.s: wrong sha256"):
        go(npm_source.replace(pin=pin))


@needs_npm
def test_an_unreachable_npm_registry_is_one_line(go, npm_source, monkeypatch, closed):
    monkeypatch.setenv("npm_config_registry", closed)
    with pytest.raises(DataError, match=r"npm cannot fetch poems@1\.0\.0 \(ECONNREFUSED\)"):
        go(npm_source)


def test_without_npm_the_message_says_what_to_install(go, npm_source, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="needs the command npm, which is not on PATH"):
        go(npm_source)


@pytest.fixture
def hub_source(monkeypatch) -> HubSource:
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return HubSource(role="pretrain", licence="CC0", dataset="someone/texts", revision="a" * 40)


def test_an_unreachable_hub_is_said_in_a_moment(go, hub_source, monkeypatch, closed):
    monkeypatch.setenv("HF_ENDPOINT", closed)
    with pytest.raises(DataError, match=r"hub cannot be reached: http://127.*connection refused"):
        go(hub_source)


def test_an_offline_setting_is_named(go, hub_source, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE forbids asking it"):
        go(hub_source)


@pytest.fixture
def reachable(monkeypatch, hub_source):
    """`datasets` as it is, with the hub's answer made here: twenty records."""
    datasets = import_datasets()
    texts = [f"Record {n}.\n\nMore of it.\n" * 20 for n in range(20)]
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options["revision"], options["streaming"]))
        return datasets.Dataset.from_dict({"text": texts}).to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "refuse_offline", lambda what: None)
    return asked


def test_records_of_the_hub_become_works_and_their_digest_is_said(go, hub_source, reachable, run):
    documents = go(hub_source.replace(max_documents=10))
    assert [d.work for d in documents] == [f"{n:07d}" for n in range(1, 11)]
    assert reachable == [(("someone/texts", None), "a" * 40, True)]
    assert run.said[0].startswith("s: pin it with sources.s.sha256: ")


def test_a_pinned_dataset_comes_from_the_cache(go, hub_source, reachable, run):
    first = go(hub_source)
    digest = run.said[0].rpartition(" ")[2]
    assert go(hub_source.replace(sha256=digest)) == first
    assert len(reachable) == 1


def test_another_digest_than_the_pinned_one_is_refused(go, hub_source, reachable):
    with pytest.raises(DataError, match="wrong sha256: someone/texts gave"):
        go(hub_source.replace(sha256="0" * 64))


def test_a_column_that_is_not_there_is_named_with_those_that_are(go, hub_source, reachable):
    with pytest.raises(DataError, match="no text in the column 'body'; columns: text"):
        go(hub_source.replace(text="body"))


def test_bytes_that_are_not_the_pinned_ones_stay_out_of_the_cache(run):
    pin = Pin(filename="plays.txt", sha256="ab" * 32, bytes=4)
    archive = run.machine.cache / "archives" / pin.sha256

    def bring(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"text")

    with pytest.raises(
        DataError, match=r"plays\.txt: what was brought has sha256 .*, params\.yaml"
    ):
        cached(pin, run, bring)
    assert not archive.exists()
