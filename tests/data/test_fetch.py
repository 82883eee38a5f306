import hashlib
import os
import socket
import threading
import time

import pytest
import requests

from minigpt.data import fetch as fetch_module
from minigpt.data.fetch import Web, fetch, shown
from minigpt.data.pin import Pin
from minigpt.errors import DataError

BODY = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(fetch_module, "PAUSES", (0.0, 0.0))


@pytest.fixture
def pin() -> Pin:
    return Pin(filename="a.bin", sha256=hashlib.sha256(BODY).hexdigest(), bytes=len(BODY))


@pytest.fixture
def get(workspace, server, pin):
    """Fetch /a.bin into the workspace; gives the target and the progress that was shown."""
    server.files["/a.bin"] = BODY
    target, seen = workspace / "cache" / "a", []

    def go(url: str | None = None, pin: Pin = pin, progress=seen.append):
        fetch("sources.x", url or f"{server.url}/a.bin", target, pin, Web(), progress)
        return target, seen

    return go


def test_a_file_arrives_whole_and_progress_is_shown(get):
    target, seen = get()
    assert target.read_bytes() == BODY
    assert seen[-1] == len(BODY)
    assert seen == sorted(seen)


def test_a_cut_body_is_asked_for_from_where_it_ended(get, server):
    server.cut["/a.bin"] = 300_000
    target, _ = get()
    assert target.read_bytes() == BODY
    assert server.asked == [("/a.bin", None), ("/a.bin", "bytes=262144-")]  # whole chunks


def test_a_later_command_goes_on_from_what_an_earlier_one_left(get, server, workspace):
    part = workspace / "cache" / "a.part"
    part.parent.mkdir()
    part.write_bytes(BODY[:500_000])
    target, _ = get()
    assert target.read_bytes() == BODY
    assert server.asked == [("/a.bin", "bytes=500000-")]


def test_a_server_that_knows_no_ranges_sends_all_again(get, server):
    server.cut["/a.bin"], server.ranges = 300_000, False
    target, _ = get()
    assert target.read_bytes() == BODY


def test_two_that_fetch_the_same_file_at_once_each_get_it_whole(get, server, workspace):
    server.hold["/a.bin"] = 300_000
    others = []
    first = threading.Thread(target=lambda: others.append(get()[0].read_bytes()))
    first.start()
    while not [p for p in workspace.glob("cache/*") if p.stat().st_size >= 2 * 64 * 1024]:
        time.sleep(0.01)
    server.hold.clear()
    assert get()[0].read_bytes() == BODY
    server.go_on.set()
    first.join()
    assert others == [BODY]
    assert [path.name for path in (workspace / "cache").iterdir()] == ["a"]


@pytest.mark.parametrize("size", [500_000, len(BODY), 2 * len(BODY)])
def test_a_part_of_another_file_is_found_out_and_blamed_on_nobody(get, workspace, size):
    part = workspace / "cache" / "a.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * size)
    assert get()[0].read_bytes() == BODY
    assert not part.exists()


def test_a_wrong_source_behind_a_part_is_refused_and_the_part_deleted(get, server, workspace):
    part = workspace / "cache" / "a.part"
    part.parent.mkdir()
    part.write_bytes(BODY[:500_000])
    server.files["/a.bin"] = b"x" * len(BODY)
    with pytest.raises(DataError, match=r"sources.x: wrong sha256: a.bin has"):
        get()
    assert list(part.parent.iterdir()) == []


def test_a_wrong_sha256_is_refused_and_nothing_is_kept(get, pin, workspace):
    with pytest.raises(DataError, match=r"wrong sha256.*params.yaml pins 0000"):
        get(pin=pin.replace(sha256="0" * 64))
    assert list((workspace / "cache").iterdir()) == []


def test_a_wrong_size_beside_a_right_sha256_says_so(get, pin):
    with pytest.raises(DataError, match=r"correct pin.bytes"):
        get(pin=pin.replace(bytes=len(BODY) - 1))


def test_a_body_that_never_comes_whole_keeps_its_part_and_says_so(get, pin, workspace):
    longer = pin.replace(bytes=len(BODY) + 1, sha256="0" * 64)
    with pytest.raises(
        DataError, match=r"1,024,000 of 1,024,001 bytes are here.*goes on from there"
    ):
        get(pin=longer)
    assert (workspace / "cache" / "a.part").stat().st_size == len(BODY)


def test_a_missing_file_is_said_with_its_status_and_without_credentials(get, server):
    address = server.url.replace("http://", "http://name:secret@") + "/none.bin?token=secret"
    with pytest.raises(DataError, match=r"/none\.bin cannot be fetched \(HTTP 404\)") as caught:
        get(address)
    assert "secret" not in str(caught.value)


def test_a_closed_port_is_said_in_a_moment(get):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"connection refused.*0 of 1,024,000 bytes"):
        get(f"http://127.0.0.1:{port}/a.bin")


@pytest.mark.parametrize(
    "url",
    ["http://", "http://127.0.0.1:99999/a", "ftp://host/a", "http://[/a", f"http://{'a' * 300}.x/"],
)
def test_what_is_no_address_is_said_at_once(get, url):
    with pytest.raises(DataError, match=r"cannot be fetched \(not an address\)"):
        get(url)


def test_a_redirect_to_what_is_no_address_is_said_at_once(get, server):
    server.moved["/moved.bin"] = "http://["
    with pytest.raises(DataError, match=r"cannot be fetched \(not an address\)"):
        get(f"{server.url}/moved.bin")


def test_a_local_address_is_copied(get, tmp_path):
    (tmp_path / "a.bin").write_bytes(BODY)
    assert get((tmp_path / "a.bin").as_uri())[0].read_bytes() == BODY


@pytest.mark.parametrize("of", ["file:///dev/zero", "device", "pipe", "folder"])
def test_what_is_no_file_is_refused_before_it_is_opened(get, tmp_path, of, workspace):
    if of == "pipe":
        os.mkfifo(tmp_path / "pipe")
    url = of if of.startswith("file:") else (tmp_path / {"folder": ""}.get(of, of)).as_uri()
    with pytest.raises(DataError, match="is not there" if of == "device" else "is no file"):
        get(url)
    assert list((workspace / "cache").iterdir()) == []


def test_a_local_file_is_read_no_further_than_the_pinned_one_could_go(get, tmp_path, workspace):
    with (tmp_path / "a.bin").open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no room
    with pytest.raises(DataError, match="wrong sha256"):
        get((tmp_path / "a.bin").as_uri())
    assert list((workspace / "cache").iterdir()) == []


def test_a_local_copy_that_ends_early_leaves_no_part(get, tmp_path, workspace):
    (tmp_path / "a.bin").write_bytes(BODY)
    with pytest.raises(KeyboardInterrupt):
        get((tmp_path / "a.bin").as_uri(), progress=interrupt)
    assert list((workspace / "cache").iterdir()) == []


def interrupt(have):
    raise KeyboardInterrupt


def test_a_file_of_another_machine_is_not_the_one_of_the_same_path_here(get, tmp_path):
    (tmp_path / "a.bin").write_bytes(BODY)
    url = (tmp_path / "a.bin").as_uri()
    with pytest.raises(DataError, match=r"is on another machine.*Write file:///"):
        get(url.replace("file://", "file://remotehost"))
    assert get(url.replace("file://", "file://localhost"))[0].read_bytes() == BODY


def test_addresses_are_shown_without_what_is_secret():
    assert shown("https://me:pw@host:8080/simple/?key=1") == "https://host:8080/simple/"


def test_pip_s_certificates_and_proxy_beat_the_environment(monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/of/the/environment")
    web = Web(proxy="http://127.0.0.1:9", cert="/of/pip")
    with pytest.raises((OSError, requests.RequestException), match="/of/pip"):
        web.get("https://127.0.0.1:9/", {})
