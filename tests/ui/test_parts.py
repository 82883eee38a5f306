"""The page's parts that need no browser."""

import asyncio
import html
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.ui import knobs, render
from minigpt.ui.client import Delta, ServerError, ShownToken, read_event, refusal
from minigpt.ui.runs import Run, Runs
from tests.patience import patience

T = TypeVar("T")
TAG = re.compile(r"<[^>]*>")


def test_a_start_of_the_command_imports_no_gradio():
    code = "import sys; import minigpt.cli.main; sys.exit('gradio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0


@given(st.text(), st.text())
def test_text_in_html_reads_as_it_was(prompt: str, text: str):
    shown = render.written(prompt, text, "x")
    assert html.unescape(TAG.sub("", shown)) == prompt + text
    assert not re.search(r"<(?!/?(div|span)\b)", shown)


@given(st.text(), st.text())
def test_a_token_carries_its_alternatives_as_data(text: str, other: str):
    token = ShownToken(text, -0.5, ((other, -1.0),))
    [data] = re.findall(r'data-token="([^"]*)"', render.coloured("", [token]))
    facts = json.loads(html.unescape(data))
    assert facts["text"] == text
    assert facts["alternatives"][0][0] == other


def test_each_probability_has_a_band():
    assert [render.band(p) for p in (1, 0.5, 0.49, 0.2, 0.05, 0.01, 1e-30, 0)] == [
        0, 0, 1, 1, 2, 3, 4, 4,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "text"),
    [("END", "END"), (r"\n", "\n"), (r"a\\n", r"a\n"), (r"\x\t", "\\x\t"), ("\\", "\\")],
)
def test_stop_texts_may_hold_newlines(line: str, text: str):
    assert knobs.unescaped(line) == text


def test_an_empty_control_is_its_default():
    body = knobs.asked([None] * len(knobs.KNOBS))
    assert body["temperature"] == 0.8
    assert body["max_tokens"] == 200
    assert body["top_k"] == 50
    assert body["stop"] == []


@pytest.mark.parametrize("knob", knobs.KNOBS, ids=knobs.NAMES)
@given(text=st.text())
def test_an_address_gives_a_setting_or_is_told(knob: knobs.Knob, text: str):
    values, wrong = knobs.in_address({knob.name: text})
    value = values[knobs.NAMES.index(knob.name)]
    assert wrong == [f"{knob.name}={text}"] or str(value) == text or isinstance(value, int | float)
    json.dumps(knobs.asked(values), allow_nan=False)


def test_a_refusal_says_the_servers_sentence_and_when_to_come_again():
    body = json.dumps({"error": {"message": "busy"}}).encode()
    assert refusal(429, body, {"retry-after": "3"}) == "busy (try again in 3 s)"
    assert refusal(502, b"<html>", {}) == "the server answered 502"


def test_an_error_in_a_stream_ends_it():
    with pytest.raises(ServerError, match="gone"):
        read_event({"error": {"message": "gone"}})


def finished(work: Coroutine[Any, Any, T]) -> T:
    """What it comes to, in a thread of its own: a browser's loop may run in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result(patience(60))


async def endless() -> AsyncIterator[Delta]:
    yield Delta("a")
    await asyncio.Event().wait()


def collect(*streams: Any, stop: str) -> list[str]:
    async def read() -> list[str]:
        run, texts = Run(), [""] * len(streams)
        if stop == "before":
            run.stop()
        following = run.follow(*streams)
        if stop == "at the start":
            asyncio.get_running_loop().call_soon(run.stop)
        async for deltas in following:
            for place, delta in enumerate(deltas):
                texts[place] += delta.text if delta else ""
            if stop == "after a piece":
                run.stop()
        return texts

    return finished(read())


@pytest.mark.parametrize(
    ("stop", "texts"),
    [("before", ["", ""]), ("at the start", None), ("after a piece", ["a", "a"])],
)
def test_a_stopped_run_gives_what_has_come_and_ends(stop: str, texts: list[str] | None):
    got = collect(endless(), endless(), stop=stop)
    assert texts is None or got == texts


def test_a_stream_that_fails_does_not_end_the_one_beside_it():
    async def failing() -> AsyncIterator[Delta]:
        yield Delta("x")
        raise ServerError("broken")

    async def whole() -> AsyncIterator[Delta]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield Delta("y")

    async def read() -> list[Delta]:
        run = Run()
        deltas = [d for batch in [b async for b in run.follow(failing(), whole())] for d in batch]
        return [delta for delta in deltas if delta]

    deltas = finished(read())
    assert "".join(delta.text for delta in deltas if not delta.error).count("y") == 3
    assert [delta.error for delta in deltas if delta.error] == ["broken"]


def test_a_start_waits_for_the_end_of_the_one_before():
    async def read() -> list[str]:
        runs, said = Runs(), []

        async def write(name: str, stream: AsyncIterator[Delta]) -> None:
            async with runs.start("visitor", "tab") as run:
                async for _ in run.follow(stream):
                    said.append(f"{name} goes on")  # noqa: PERF401  read while it grows
                said.append(f"{name} ends")

        first = asyncio.ensure_future(write("first", endless()))
        while not said:
            await asyncio.sleep(0)
        second = asyncio.ensure_future(write("second", endless()))
        await first
        runs.stop("visitor", "another tab", 9)
        while said[-1] != "second goes on":
            await asyncio.sleep(0)
        runs.stop("visitor", "tab", 0)
        await second
        return said

    said = finished(read())
    assert said[-1] == "second ends"
    assert said.index("first ends") < said.index("second goes on")


def test_a_stop_that_overtakes_its_start_stops_it_and_not_the_next():
    async def read() -> list[bool]:
        runs, stopped = Runs(), []
        runs.stop("visitor", "tab", 1)
        for number in (1, 2):
            async with runs.start("visitor", "tab", number) as run:
                stopped.append(run.stopped)
        runs.stop("visitor", "tab", 2)  # it has ended
        async with runs.start("visitor", "tab", 3) as run:
            return [*stopped, run.stopped]

    assert finished(read()) == [True, False, False]


def test_stops_of_visitors_who_started_nothing_are_forgotten():
    runs = Runs()
    for visitor in range(2000):
        runs.stop(str(visitor), "tab", 0)
    assert len(vars(runs)["_stopped_early"]) <= 1000
