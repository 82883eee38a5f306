"""What the server costs: the engine's own rate beside what 16 clients get over HTTP, in one run.

    python benchmarks/serving.py FOLDER [--clients 16] [--tokens 200] [--requests 96] [--rounds 3]

FOLDER is an ONNX export or a package. The same requests go to the engine (in a process of its own,
no HTTP) and through `minigpt serve` with that many clients, which ask again as soon as they have
their answer: whole, and streaming. Everything runs on this machine, the clients too. Rounds
alternate; the medians are printed as a Markdown table.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMPT = "def number_{i}(values):\n    return "
SETTINGS = {"temperature": 0, "ignore_end": True}
"""Greedy: the engine is at its fastest, so what HTTP costs weighs most."""


@dataclass
class Round:
    """What one way of asking gave."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)
    """Seconds to the first token of each text."""
    pace: list[float] = field(default_factory=list)
    """Seconds a token behind it."""

    @property
    def rate(self) -> float:
        """Tokens a second, of all texts together."""
        return self.tokens / self.seconds


def engine_alone(folder: str, slots: int, tokens: int, requests: int) -> Round:
    """The scheduler with as many texts in work as there are clients, and nothing else."""
    command = [sys.executable, __file__, folder, "--engine-only", "--clients", str(slots),
               "--tokens", str(tokens), "--requests", str(requests)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True)
    return Round(**json.loads(done.stdout))


def run_engine(folder: str, slots: int, tokens: int, requests: int) -> Round:
    """The same, in this process."""
    from minigpt.generation.models import load
    from minigpt.generation.request import Request, Sampling
    from minigpt.generation.scheduler import Scheduler
    from minigpt.generation.stream import prompt_ids
    from minigpt.machine import Machine
    from minigpt.registry.registry import Registry
    from minigpt.registry.served import find_model

    model = load(find_model(Registry(ROOT, "minigpt"), folder), Machine.load(), slots=slots)
    scheduler = Scheduler(model.engine, model.tokenizer)
    warm = Request(prompt=prompt_ids(model.tokenizer, PROMPT), max_tokens=8, n=min(slots, 16))
    for _ in scheduler.write(warm):
        pass
    settings = dict(SETTINGS)
    ignore_end = bool(settings.pop("ignore_end"))
    sampling = Sampling.model_validate(settings)
    result, asked = Round(), 0
    times: dict[int, list[float]] = {}

    def ask() -> None:
        nonlocal asked
        number = asked
        asked += 1
        ids = prompt_ids(model.tokenizer, PROMPT.format(i=number))
        request = Request(
            prompt=ids, max_tokens=tokens, sampling=sampling, seed=number, ignore_end=ignore_end
        )
        times[number] = [time.perf_counter()]

        def sink(piece) -> None:
            times[number].append(time.perf_counter())
            if piece.finish is not None:
                note(result, times.pop(number), piece.usage.written)
                if asked < requests:
                    ask()

        scheduler.submit(request, sink)

    began = time.perf_counter()
    for _ in range(min(slots, requests)):
        ask()
    while scheduler.turn():
        pass
    result.seconds = time.perf_counter() - began
    return result


def note(result: Round, moments: list[float], written: int) -> None:
    """Add one text: when it was asked for, when each part came."""
    result.tokens += written
    result.first.append(moments[1] - moments[0])
    if written > 1:
        result.pace.append((moments[-1] - moments[1]) / (written - 1))


async def over_http(port: int, clients: int, tokens: int, requests: int, stream: bool) -> Round:
    """As many connections, each asking again once it has its answer."""
    result, numbers = Round(), iter(range(requests))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            body = {"prompt": PROMPT.format(i=number), "max_tokens": tokens, "seed": number}
            data = json.dumps({**body, **SETTINGS, "stream": stream}).encode()
            head = f"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
            moments = [time.perf_counter()]
            writer.write(head.encode() + data)
            answer = bytearray()
            if stream:
                while b'"done":true' not in answer or not answer.endswith(b"0\r\n\r\n"):
                    answer += await reader.read(1 << 16)
                    moments += [time.perf_counter()] if b"data:" in answer else []
            else:
                head_read = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head_read)[1])
                answer += await reader.readexactly(length)
                moments += [time.perf_counter()] * 2
            written = int(re.findall(rb'"written": ?(\d+)', answer)[-1])
            note(result, moments, written)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    result.seconds = time.perf_counter() - began
    return result


def environment() -> dict[str, str]:
    """This checkout's code."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = (options.clients, options.tokens, options.requests)
    if options.engine_only:
        print(json.dumps(run_engine(options.folder, *sizes).__dict__))
        return 0
    rounds: dict[str, list[Round]] = {"engine alone": [], "HTTP, whole": [], "HTTP, streaming": []}
    command = [sys.executable, "-m", "minigpt.cli.main", "serve", options.folder, "--port", "0",
               "--slots", str(options.clients)]  # fmt: skip
    for _ in range(options.rounds):
        rounds["engine alone"].append(engine_alone(options.folder, *sizes))
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
        ) as server:
            try:
                port = 0
                for line in server.stdout or ():
                    if match := re.search(r"http://127\.0\.0\.1:(\d+)/v1", line):
                        port = int(match[1])
                    if line.startswith("ready"):
                        break
                else:
                    sys.exit("the server did not start")
                asyncio.run(over_http(port, options.clients, 8, options.clients, True))  # warm
                for name, stream in (("HTTP, whole", False), ("HTTP, streaming", True)):
                    rounds[name].append(asyncio.run(over_http(port, *sizes, stream)))
            finally:
                server.terminate()
    print(table(rounds))
    return 0


def table(rounds: dict[str, list[Round]]) -> str:
    """Markdown, with the share of the engine's own rate."""
    lines = [
        "| | tokens a second | of the engine's own | first token p50 | p99 | a token p50 | p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    own = statistics.median(one.rate for one in rounds["engine alone"])
    for name, those in rounds.items():
        rate = statistics.median(one.rate for one in those)
        cells = [f"{rate:,.0f}", f"{rate / own:.0%}"]
        for kind in ("first", "pace"):
            times = [seconds for one in those for seconds in getattr(one, kind)]
            whole = name == "HTTP, whole"  # its first token comes with its last
            cells += ["", ""] if whole else [f"{1000 * at(times, p):.1f} ms" for p in (0.5, 0.99)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def at(values: list[float], share: float) -> float:
    """The value below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
