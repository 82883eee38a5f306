"""One page on a scripted server and one browser, for all tests of this folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.patience import patience, until
from tests.ui.fake import MODELS, Fake

KEY = "a-key-that-no-page-may-show"
AXE = "axe-core@4.14.1"
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextlib.contextmanager
def serving(app: Any, listening: socket.socket) -> Iterator[None]:
    """A server in a thread."""
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        thread.join(patience(30))


@dataclass
class Site:
    """The page on a scripted server."""

    url: str
    fake: Fake


@pytest.fixture(scope="session")
def running_site() -> Iterator[Site]:
    from minigpt.ui.page import mount

    fake, listening = Fake(), socket.socket()
    listening.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    app = fake.app()
    mount(app, url, lambda: MODELS, headers={"Authorization": f"Bearer {KEY}"})
    with serving(app, listening):
        yield Site(f"{url}/ui/", fake)


@pytest.fixture
def site(running_site: Site) -> Site:
    running_site.fake.reset()
    return running_site


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless browser."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium, or CHROMIUM=PATH")
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=1000 * patience(30))
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Visit:
    """What pages of a test did that none may do."""

    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        page.on("console", lambda message: self._heard(message))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self._asked(request.url))

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.complaints.append(f"asked {url}")


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens the page as a new visitor; no visitor's page may complain or ask another host."""
    visitors, seen = [], Visit()

    def open_page(url: str, ready: str = "body[data-ready=true]", **options: Any) -> Any:
        visitor = chromium.new_context(reduced_motion="reduce", **options)
        visitor.set_default_timeout(1000 * patience(30))
        visitors.append(visitor)
        page = visitor.new_page()
        seen.watch(page)
        page.goto(url)
        page.locator(ready).wait_for()
        return page

    yield open_page
    for visitor in visitors:
        visitor.close()
    assert not seen.complaints


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, of the npm registry; it is not ours to carry."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: axe-core comes with it")
    folder = tmp_path_factory.mktemp("axe")
    done = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm has no {AXE}: {done.stderr[-200:]}")
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        member = packed.extractfile("package/axe.min.js")
        assert member is not None
        return member.read().decode()
