"""The page of `minigpt serve --ui` and of `minigpt ui --server`, before a real model."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.patience import patience, until
from tests.serving.conftest import KEY, ROOT, Served, make_export, serving

expect = pytest.importorskip("playwright.sync_api").expect
Visit = Callable[..., Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [make_export(tmp_path_factory.mktemp(f"model{seed}"), seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def server(models: list[Path]) -> Iterator[Served]:
    with serving(models[0], "--also", models[1], "--ui") as served:
        yield served


def says(page: Any, name: str, words: str | re.Pattern[str]) -> None:
    expect(page.locator(f"#{name}")).to_contain_text(words)


def text_of(page: Any, name: str) -> str:
    return str(page.locator(f"#{name} .mg-text").evaluate("e => e.textContent"))


def test_a_person_writes_chats_compares_and_looks_at_tokens(server: Served, visit: Visit):
    asked = server.get("/v1/models").json()["data"]
    page = visit(f"{server.url}/ui/?seed=3&max_tokens=40&prompt=The+quick")
    page.click("#write-start")
    says(page, "write-status", "40 tokens in")
    settings = {"temperature": 0.8, "top_k": 50, "top_p": 0.95, "max_tokens": 40, "seed": 3}
    alone = server.generate("The quick", model=asked[0]["id"], **settings)
    assert text_of(page, "write-output") == "The quick" + alone["generated"]

    page.locator("#knob-max_tokens input").fill("20")
    page.get_by_role("tab", name="Chat").click()
    message = page.locator("#chat-message textarea")
    for turn in ("One", "Two"):
        message.fill(turn)
        message.press("Enter")
        says(page, "chat-output", turn)
        says(page, "chat-status", "20 tokens in")
    before = page.locator("#chat-output .mg-words").all_inner_texts()
    assert len(before) == 4
    page.click("#chat-retry")
    expect(page.locator("#knob-seed input")).to_have_value("4")
    says(page, "chat-status", "20 tokens in")
    assert page.locator("#chat-output .mg-words").all_inner_texts()[:3] == before[:3]

    page.get_by_role("tab", name="Compare").click()
    page.click("#compare-start")
    sides = [f"compare-{side}" for side in ("left", "right")]
    for side in sides:
        says(page, f"{side}-status", "20 tokens in")
    left, right = (text_of(page, f"{side}-output") for side in sides)
    assert left != right
    assert left.startswith("The quick")  # each tab has a prompt of its own

    page.get_by_role("tab", name="Tokens").click()
    page.click("#tokens-start")
    says(page, "tokens-status", "20 tokens in")
    tokens = page.locator("#tokens-output [role=option]")
    expect(tokens).to_have_count(20)
    tokens.nth(7).hover()
    expect(page.locator("#mg-panel li")).to_have_count(5)
    says(page, "mg-panel", re.compile(r"\d %"))


def test_stop_ends_a_text_on_the_server_too(server: Served, visit: Visit):
    # What was written becomes likelier each time: the text goes in circles and never ends.
    page = visit(f"{server.url}/ui/?frequency_penalty=-2&max_tokens=1000000&prompt=A")
    page.click("#write-start")
    expect(page.locator("#write-output .mg-new")).not_to_be_empty()
    assert "tokens in" not in page.locator("#write-status").inner_text()
    page.click("#write-stop")
    says(page, "write-status", "stopped")
    page.locator("#knob-max_tokens input").fill("5")
    page.click("#write-again")
    says(page, "write-status", "5 tokens in")
    batch = re.compile(r"^minigpt_batch_texts\{.*\} (\S+)$", re.MULTILINE)
    until(lambda: set(batch.findall(server.get("/metrics").text)) == {"0.0"})


def test_a_setting_that_the_server_refuses_is_told(server: Served, visit: Visit):
    page = visit(f"{server.url}/ui/?max_tokens=0&seed=-1")
    page.locator("#knob-max_tokens input").fill("-5")
    page.click("#write-start")
    says(page, "write-status", "max_tokens")
    expect(page.locator("#write-status .mg-failed")).to_be_visible()


def test_a_server_ends_while_a_page_is_open(models: list[Path], visit: Visit):
    with serving(models[0], "--ui") as served:
        page = visit(f"{served.url}/ui/")
        page.click("#write-start")
        says(page, "write-status", "tokens in")
        page.goto("about:blank")  # or the browser says that the server is gone, which is so
        served.end(signal.SIGTERM)
        until(lambda: "ended" in served.text())
    assert "Traceback" not in served.text()


def test_where_keys_are_wanted_the_page_asks_for_one(models: list[Path], visit: Visit):
    with serving(models[0], "--ui", key=KEY) as served:
        for path in ("config", "gradio_api/info"):
            assert httpx.get(f"{served.url}/ui/{path}").status_code == 401
        page = visit(f"{served.url}/ui/", ready="input[type=password]")
        page.get_by_label("username").fill("tests")
        page.get_by_label("password").fill(KEY)
        page.get_by_role("button", name="Login").click()
        page.locator("body[data-ready=true]").wait_for()
        page.click("#write-start")
        says(page, "write-status", "tokens in")
        assert KEY not in page.content()
        page.close()


def ui(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "minigpt.cli.main", "ui", "--no-open", "--port", "0", *arguments],
        env={"PATH": "", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_the_page_alone_stands_before_another_server(models: list[Path], visit: Visit):
    with serving(models[0], key=KEY) as served:
        process = ui("--server", f"{served.url}/v1", MINIGPT_API_KEY=KEY)
        try:
            assert process.stdout is not None
            said = []
            while not said or not said[-1].startswith("ready"):
                said.append(process.stdout.readline())
                assert said[-1], said
            [url] = re.findall(r"page +(\S+)", "".join(said))
            page = visit(url)
            page.click("#write-start")
            says(page, "write-status", "tokens in")
            assert KEY not in page.content()
            process.send_signal(signal.SIGINT)
            rest, _ = process.communicate(timeout=patience(60))
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert rest == "ended\n"


def test_a_server_that_is_not_there_or_wants_a_key_is_told(models: list[Path]):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        said, _ = ui("--server", address).communicate(timeout=patience(60))
        assert said.count("\n") == 1
        assert f"http://{address} does not answer" in said
    with serving(models[0], key=KEY) as served:
        said, _ = ui("--server", served.url).communicate(timeout=patience(60))
        assert said.count("\n") == 1
        assert "MINIGPT_API_KEY" in said


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://a:b", "http://me:pw@host"])
def test_an_address_that_is_none_is_refused(address: str):
    process = ui("--server", address)
    said, _ = process.communicate(timeout=patience(60))
    assert process.returncode == 2
    assert f"--server {address}: no address of a server" in said
