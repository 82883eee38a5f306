import socket
from pathlib import Path

import pytest

from minigpt.data.index import find, pip_settings, with_credentials
from minigpt.errors import DataError


@pytest.fixture
def source(make_source):
    return make_source(b"data")


@pytest.fixture
def closed() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://user:secret@127.0.0.1:{free.getsockname()[1]}/simple"


def look(source) -> str:
    pip = pip_settings()
    return find("plays", source, pip, pip.web())


def page(href: str) -> bytes:
    return f'<html><body><a href="{href}">plays-1.0.tar.gz</a></body></html>'.encode()


def test_settings_come_from_the_environment_then_from_pip_s_file(workspace, monkeypatch):
    config = workspace / "pip.conf"
    config.write_text(
        "[global]\nindex-url = http://file/simple\nextra-index-url =\n    http://one\n    http://two\n"
        "cert = /ca.pem\nproxy = http://proxy:1\n[download]\nfind_links = /links\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.delenv("PIP_CERT", raising=False)
    settings = pip_settings()
    assert settings.indexes == ["http://file/simple", "http://one", "http://two"]
    assert (settings.cert, settings.proxy, settings.links) == (
        "/ca.pem",
        "http://proxy:1",
        ["/links"],
    )
    monkeypatch.setenv("PIP_INDEX_URL", "http://environment/simple")
    assert pip_settings().indexes[0] == "http://environment/simple"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert pip_settings().indexes == []


def test_a_broken_pip_configuration_is_named(workspace, monkeypatch):
    (workspace / "pip.conf").write_text("no section = here\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(workspace / "pip.conf"))
    with pytest.raises(DataError, match=r"pip\.conf: pip's configuration cannot be read"):
        pip_settings()


def test_an_index_on_a_server_is_asked_for_the_project(workspace, server, source, monkeypatch):
    server.files["/simple/plays/"] = page("../../files/plays-1.0.tar.gz#sha256=0")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    assert look(source).startswith(f"{server.url}/files/plays-1.0.tar.gz")


def test_an_extra_index_in_a_folder_is_asked_too(workspace, server, source, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    folder = workspace / "index" / "plays"
    folder.mkdir(parents=True)
    (folder / "index.html").write_bytes(page("../files/plays-1.0.tar.gz"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", (workspace / "index").as_uri())
    assert Path(look(source).removeprefix("file://")) == workspace / "index/files/plays-1.0.tar.gz"


@pytest.mark.parametrize("as_uri", [True, False])
def test_a_folder_of_links_is_looked_at_first(workspace, source, monkeypatch, closed, as_uri):
    (workspace / "plays-1.0.tar.gz").write_bytes(b"data")
    monkeypatch.setenv("PIP_FIND_LINKS", workspace.as_uri() if as_uri else str(workspace))
    monkeypatch.setenv("PIP_INDEX_URL", closed)
    assert look(source) == (workspace / "plays-1.0.tar.gz").as_uri()


def test_an_unreachable_index_is_named_without_credentials(workspace, source, monkeypatch, closed):
    monkeypatch.setenv("PIP_INDEX_URL", closed)
    with pytest.raises(DataError, match="no package index can be reached: http://127") as caught:
        look(source)
    assert "connection refused" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_index_without_the_file_is_another_message(workspace, server, source, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    with pytest.raises(DataError, match=r"plays-1\.0\.tar\.gz is on no index that pip"):
        look(source)


def test_the_index_s_credentials_go_to_its_own_host_only():
    index = "https://me:pw@host:8/simple"
    assert with_credentials("https://host:8/a.whl#x", index) == "https://me:pw@host:8/a.whl#x"
    assert with_credentials("https://other/a.whl", index) == "https://other/a.whl"
    assert (
        with_credentials("https://host:8/a.whl", "https://host:8/simple") == "https://host:8/a.whl"
    )
