"""Many at once: none lost, none mixed; and nothing is kept of who has been."""

import asyncio
import json

import httpx
import psutil
import pytest

from tests.patience import patience

WORDS = ("The quick", "brown fox", "jumps over", "the lazy dog", "and the dream")


def asked(number):
    """Request `number`: lengths, settings and ways of asking differ."""
    return {
        "prompt": " ".join(WORDS[: number % 5 + 1]),
        "max_tokens": 10 + number % 40,
        "temperature": (0, 0.7, 1.3)[number % 3],
        "seed": number,
        "ignore_end": number % 2 == 0,
    }


async def ask(client, number, stream):
    """The text of request `number`."""
    body = asked(number)
    if not stream:
        return (await client.post("/generate", json=body)).json()["generated"]
    text, done = "", False
    async with client.stream("POST", "/generate", json={**body, "stream": True}) as answer:
        async for line in answer.aiter_lines():
            event = json.loads(line.removeprefix("data: ")) if line else {}
            text += event.get("text", "")
            done = done or event.get("done", False)
    assert done
    return text


def client_of(server):
    return httpx.AsyncClient(
        base_url=server.url, timeout=patience(300), trust_env=False,
        limits=httpx.Limits(max_connections=None),
    )  # fmt: skip


def each_equals_its_text_alone(server, count):
    async def all_of_them():
        async with client_of(server) as client:
            together = await asyncio.gather(
                *(ask(client, number, stream=True) for number in range(count))
            )
            alone = [await ask(client, number, stream=False) for number in range(count)]
        return together, alone

    together, alone = asyncio.run(all_of_them())
    assert together == alone
    assert len(set(alone)) > count / 2  # greedy ones of a prompt differ in length alone


def test_forty_streams_at_once_each_have_their_text_alone(server):
    each_equals_its_text_alone(server, 40)


@pytest.mark.prove
def test_two_hundred_streams_at_once_each_have_their_text_alone(server):
    each_equals_its_text_alone(server, 200)


def growth(server, requests):
    """Bytes that server and worker hold more after so many requests, of all kinds."""
    processes = [psutil.Process(server.process.pid), *server.workers()]

    def held():
        return sum(process.memory_info().rss for process in processes)

    async def some(count):
        async with client_of(server) as client:
            for begin in range(0, count, 20):
                await asyncio.gather(
                    *(short(client, number) for number in range(begin, begin + 20))
                )

    async def short(client, number):
        body = {**asked(number), "max_tokens": 3}
        match number % 4:
            case 0:
                await client.post("/generate", json=body)
            case 1:
                await client.post("/v1/completions", json={"prompt": "x" * (number % 900 + 1)})
            case 2:
                await client.post("/generate", json={**body, "temperature": -1})
            case 3:
                async with client.stream("POST", "/generate", json={**body, "stream": True}):
                    pass  # it leaves

    asyncio.run(some(400))
    before = held()
    asyncio.run(some(requests))
    return held() - before


def test_memory_does_not_grow_with_requests(server):
    # Three hundred requests would show a leak of a body or a connection each: 20 kB and more.
    assert growth(server, 300) < 300 * 20_000


@pytest.mark.prove
def test_memory_is_flat_over_ten_thousand_requests(server):
    assert growth(server, 10_000) < 10_000_000
