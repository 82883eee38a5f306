"""How a server and its worker end, by signals of all kinds, and what their clients see."""

import contextlib
import json

from tests.patience import patience, until
from tests.serving.asking import ENDLESS, alive, refused
from tests.serving.conftest import serving


def test_a_drain_lets_streams_end_and_begins_nothing(export):
    with serving(export) as server, server.client() as client:
        body = {**ENDLESS, "max_tokens": 3000, "stream": True}
        with client.stream("POST", "/generate", json=body) as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.terminate()
            until(lambda: "draining: 1 open request" in server.text())
            answer = server.post("/generate", prompt="x", max_tokens=1)
            assert refused(answer, 503)["code"] == "draining"
            assert int(answer.headers["retry-after"]) >= 1
            refused(server.get("/readyz"), 503)
            rest = [line for line in lines if line]
        assert json.loads(rest[-1].removeprefix("data: "))["usage"]["written"] == 3000
        assert server.process.wait(patience(60)) == 0
        assert "Traceback" not in server.text()


def test_what_does_not_end_in_time_ends_with_an_error(export):
    with serving(export, "--drain", "0.5") as server, server.client() as client:
        with client.stream("POST", "/generate", json={**ENDLESS, "stream": True}) as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.terminate()
            rest = [line for line in lines if line]
        assert "the server is ending" in json.loads(rest[-1][6:])["error"]["message"]
        assert server.process.wait(patience(60)) == 0


def test_a_second_signal_ends_at_once_and_leaves_no_worker(export):
    with serving(export) as server, server.client() as client:
        workers = server.workers()
        with client.stream("POST", "/generate", json={**ENDLESS, "stream": True}) as stream:
            lines = stream.iter_lines()
            next(lines)
            server.process.terminate()
            until(lambda: "draining" in server.text())
            server.process.terminate()
            assert server.process.wait(patience(60)) == 128 + 15
        until(lambda: not any(worker.is_running() for worker in workers))


def test_a_server_that_is_killed_leaves_no_worker(export):
    with serving(export) as server:
        workers = server.workers()
        assert workers
        server.process.kill()
        until(lambda: not any(worker.is_running() for worker in workers))


def test_a_killed_worker_ends_its_streams_with_an_error_and_is_replaced(export):
    with serving(export) as server, server.client() as client:
        with contextlib.ExitStack() as stack:
            streams = [
                stack.enter_context(
                    client.stream("POST", path, json={**body, "stream": True})
                ).iter_lines()
                for path, body in (
                    ("/generate", ENDLESS),
                    ("/v1/completions", ENDLESS),
                    (
                        "/v1/chat/completions",
                        {
                            "messages": [{"role": "user", "content": "x"}],
                            "max_tokens": 1_000_000,
                            "ignore_end": True,
                        },
                    ),
                )
            ]
            for lines in streams:
                assert next(lines).startswith("data: ")
            [worker] = server.workers()
            worker.kill()
            for lines in streams:
                last = [line for line in lines if line][-1]
                error = json.loads(last.removeprefix("data: "))["error"]
                assert error["type"] == "service_unavailable_error"
        until(lambda: "is ready again" in server.text())
        until(lambda: server.get("/readyz").status_code == 200)
        assert alive(server)
