"""What the tests of the data stages share: a run that remembers, and sources made on the spot."""

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from minigpt.data.document import Document
from minigpt.data.pin import Pin
from minigpt.data.sources.package import PackageSource
from minigpt.machine import Machine


@dataclass
class FakeRun:
    """Stands in for minigpt.run.Run: keeps what was said."""

    machine: Machine
    said: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.said.append(text)

    def progress(self, text: str) -> None:
        self.shown.append(text)

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        assert len(digest) == 64


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project root as the current folder, with no pip configuration but what is set."""
    (tmp_path / "data" / "local").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def run(workspace: Path) -> FakeRun:
    return FakeRun(Machine(cache=workspace / ".cache"))


@pytest.fixture
def make_sdist() -> Callable[[dict[str, bytes]], bytes]:
    """An sdist-like archive: every path under one top folder, with a setup.py that must not run."""

    def make(files: dict[str, bytes], top: str = "plays-1.0/") -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path, data in {"setup.py": b"raise SystemExit('executed')", **files}.items():
                info = tarfile.TarInfo(top + path)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    return make


@pytest.fixture
def make_wheel() -> Callable[[dict[str, bytes]], bytes]:
    def make(files: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for path, data in files.items():
                archive.writestr(path, data)
        return buffer.getvalue()

    return make


@pytest.fixture
def make_source() -> Callable[..., PackageSource]:
    """A package source that pins the given bytes."""

    def make(data: bytes, filename: str = "plays-1.0.tar.gz", **fields: Any) -> PackageSource:
        pin = Pin(filename=filename, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
        given = {"role": "pretrain", "licence": "public domain", "package": "plays",
                 "version": "1.0", "pin": pin}  # fmt: skip
        return PackageSource.model_validate(given | fields)

    return make


ORIGINS = {"pretrain": "a", "finetune": "b"}
"""First letter of the digests: one archive of the package, one file each of the folder."""


@pytest.fixture
def documents() -> list[Document]:
    """Twelve good English documents: two roles, three splits, each text its own."""
    sentence = "The ship that I saw in the bay is not the one of which you have told me. "
    corpus = []
    for role in ("pretrain", "finetune"):
        for number, split in enumerate(["train", "train", "train", "train", "val", "test"]):
            text = f"Number {number} of {role}.\n" + sentence * (20 + number) + "\n"
            corpus.append(
                Document(
                    doc_id=f"{role}-source/{number}.txt",
                    text=text,
                    source=f"{role}-source",
                    role=role,
                    work=str(number),
                    lang="en",
                    licence="public domain",
                    split=split,
                    sha256=hashlib.sha256(text.encode()).hexdigest(),
                    origin=f"{ORIGINS[role] * 64}:{number}.txt",
                )
            )
    return corpus


@pytest.fixture
def change() -> Callable[..., Document]:
    """A copy of a document with other fields; its sha256 follows its text."""

    def changed(document: Document, **fields: Any) -> Document:
        new = replace(document, **fields)
        if "text" in fields and "sha256" not in fields:
            new = replace(new, sha256=hashlib.sha256(new.text.encode()).hexdigest())
        return new

    return changed


@dataclass
class Server:
    """A loopback server: `files` by path; `cut` bodies end after so many bytes, once each.

    A body on `hold` stays there, the connection open, until `go_on` is set.
    """

    url: str
    files: dict[str, bytes]
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of each request."""
    ranges: bool = True
    moved: dict[str, str] = field(default_factory=dict)
    """Path → where it is said to lie now."""
    hold: dict[str, int] = field(default_factory=dict)
    go_on: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server("", {})

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append((self.path, asked))
            if place := state.moved.get(self.path):
                self.send_response(302)
                self.send_header("Location", place)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and state.ranges else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            end = state.cut.pop(self.path, None)
            if sent_first := state.hold.pop(self.path, 0):
                self.wfile.write(body[start:sent_first])
                state.go_on.wait()
                self.close_connection = True
                return
            self.wfile.write(body[start:end])
            if end is not None:
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{web.server_port}"
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    web.shutdown()
    thread.join()
    web.server_close()
