"""What a server must not choke on, and whom it lets in."""

import contextlib
import json
import socket
import struct

import httpx
import pytest

from minigpt.errors import ParamsError
from minigpt.serving.keys import VARIABLE, Keys
from minigpt.serving.rates import Rates
from tests.patience import until
from tests.serving.asking import ENDLESS, alive, connect, figure, refused
from tests.serving.conftest import KEY, serving


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"prompt": "x", "temperature": NaN}',
        b'{"prompt": "x", "temperature": Infinity}',
        b'{"prompt": "x", "temperature": 1e999}',
        b'{"prompt": "x", "top_p": -1}',
        b'{"prompt": "x", "temperature": 1e-9}',
        b'{"prompt": "x", "max_tokens": ' + b"9" * 400 + b"}",
        b'{"prompt": "x", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"prompt": "x", "max_tokens": 1000001}',
        b'{"prompt": "x", "max_tokens": "5"}',
        b'{"prompt": "x", "max_tokens": true}',
        b'{"prompt": "\xff\xfe"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": ' + b"[" * 100_000 + b"}",
        b'{"prompt": "x", "json_schema": ' + b'{"a":' * 100_000 + b"}",
        b'{"prompt": "x", "regex": "("}',
        b'{"prompt": "x", "regex": "a", "grammar": "b"}',
        b'{"prompt": "x", "json_schema": {"type": "nonsense"}}',
        b'{"prompt": "x", "logit_bias": {"x": 1}}',
        b'{"prompt": "x", "logit_bias": {"5000": 1}}',
        b'{"prompt": "x", "n": 3, "best_of": 2}',
        b'{"prompt": "x", "stop": ""}',
        b'{"prompt": [1, 99999]}',
        b'{"prompt": []}',
        b'{"prompt": "x", "surprise": 1}',
        b'{"max_tokens": 1}',
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_in_one_sentence(server, body):
    with server.client() as client:
        error = refused(client.post("/generate", content=body), 400)
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 600


def test_a_wrong_setting_is_named(server):
    error = refused(server.post("/generate", prompt="x", temperature=500), 400)
    assert error["param"] == "temperature"
    assert "100" in error["message"]


def test_a_prompt_of_too_many_tokens_is_refused(server):
    error = refused(server.post("/generate", prompt="x y" * 60_000), 400)
    assert "65,536" in error["message"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(server, chunked):
    data = b'{"prompt": "' + b"x" * (1 << 20) + b'"}'

    def parts():
        for i in range(0, len(data), 1 << 14):
            yield data[i : i + (1 << 14)]

    with server.client() as client:
        answer = client.post("/generate", content=parts() if chunked else data)
    assert refused(answer, 413)["code"] == "body_too_large"
    assert alive(server)


def test_a_body_that_lies_of_its_length_is_refused_at_once(server):
    with connect(server) as bare:
        bare.sendall(b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{")
        assert bare.recv(100).startswith(b"HTTP/1.1 413")
    assert alive(server)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/../../etc/passwd", 404),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/v1/models/%00", 404),
        ("GET", "/generate", 405),
        ("DELETE", "/v1/models", 405),
        ("PUT", "/v1/completions", 405),
    ],
)
def test_every_refusal_has_openais_shape(server, method, path, status):
    with server.client() as client:
        answer = client.request(method, path)
    refused(answer, status)
    assert answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"]


def test_random_bytes_and_broken_connections_leave_it_alive(server):
    for data in (
        bytes(range(256)) * 40,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 200_000 + b"\r\n\r\n",
        b"POST /generate HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 9\r\n\r\n",
    ):
        with connect(server) as bare, contextlib.suppress(OSError):
            bare.sendall(data)
            bare.recv(100)
    with connect(server) as bare:  # reset in the middle of a request
        bare.sendall(b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert alive(server)
    assert "Traceback" not in server.text()


def test_slow_half_closed_and_a_thousand_idle_connections_stop_nobody(server):
    with contextlib.ExitStack() as open_ones:
        for _ in range(1000):
            open_ones.enter_context(connect(server))
        for _ in range(20):
            slow = open_ones.enter_context(connect(server))
            slow.sendall(b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n{")
            half = open_ones.enter_context(connect(server))
            half.sendall(b"POST /gen")
            half.shutdown(socket.SHUT_WR)
            deaf = open_ones.enter_context(connect(server))  # never reads
            body = json.dumps({**ENDLESS, "max_tokens": 50, "stream": True}).encode()
            deaf.sendall(
                b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
                + body
            )
        assert alive(server)
        assert server.get("/readyz").status_code == 200
    assert alive(server)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_stops_its_text(server, stream):
    until(lambda: figure(server, "minigpt_batch_texts") == 0)
    body = json.dumps({**ENDLESS, "stream": stream}).encode()
    with connect(server) as bare:
        bare.sendall(
            b"POST /generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        )
        until(lambda: figure(server, "minigpt_batch_texts") == 1)
    until(lambda: figure(server, "minigpt_batch_texts") == 0)


def test_more_texts_than_may_wait_are_told_to_come_again(export):
    with serving(export, "--slots", "1") as server, contextlib.ExitStack() as stack:
        client = stack.enter_context(server.client(limits=httpx.Limits(max_connections=None)))
        streams = []
        for _ in range(20):
            request = client.build_request(
                "POST", "/generate", json={**ENDLESS, "n": 16, "stream": True}
            )
            answer = client.send(request, stream=True)
            streams.append(answer)
            if answer.status_code != 200:
                break
        answer.read()
        assert refused(answer, 429)["code"] == "queue_full"
        assert int(answer.headers["retry-after"]) >= 1
        for stream in streams:
            stream.close()
        until(lambda: figure(server, "minigpt_queue_texts") == 0)


def test_keys_open_everything_but_health(export):
    with serving(export, "--rate", "3", key=KEY) as server:
        url = server.url
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert httpx.get(url + path).status_code == 200
        for path in ("/v1/models", "/metrics", "/nothing"):
            assert httpx.get(url + path).status_code == 401
        for wrong in ("", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Basic {KEY}", KEY):
            answer = httpx.post(
                url + "/generate", json={"prompt": "x"}, headers={"authorization": wrong}
            )
            assert refused(answer, 401)["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        for _ in range(3):
            assert server.post("/generate", prompt="x", max_tokens=1).status_code == 200
        answer = server.post("/generate", prompt="x", max_tokens=1)
        assert refused(answer, 429)["code"] == "rate_limit_exceeded"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert server.get("/metrics").status_code == 200
        [worker] = server.workers()
        assert VARIABLE not in worker.environ()
        assert KEY not in server.text()


@pytest.mark.parametrize(
    "value", ["nonsense", "alice:short", "a b:0123456789abcdef", "a:0123456789abcdef,a:x" * 2, ":x"]
)
def test_malformed_keys_are_refused_without_being_shown(monkeypatch, value):
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ParamsError, match=VARIABLE) as caught:
        Keys.load()
    assert "0123456789abcdef" not in str(caught.value)


def test_several_keys_have_names(monkeypatch):
    monkeypatch.setenv(VARIABLE, "alice:0123456789abcdef, bob:fedcba9876543210")
    keys = Keys.load()
    assert keys.holder("Bearer 0123456789abcdef") == "alice"
    assert keys.holder("bearer fedcba9876543210") == "bob"
    assert keys.holder("Bearer 0123456789abcdeF") is None
    assert keys.admits("bob", "fedcba9876543210")
    assert not keys.admits("alice", "fedcba9876543210")


def test_a_rate_fills_evenly_and_by_name():
    now = [0.0]
    rates = Rates(60, clock=lambda: now[0])
    assert [rates.wait("a") for _ in range(61)] == [None] * 60 + [1]
    assert rates.wait("b") is None
    now[0] += 2
    assert [rates.wait("a") for _ in range(3)] == [None, None, 1]


def test_pages_of_other_sites_may_not_ask_unless_told_so(server, export):
    with server.client() as client:
        own = client.get("/v1/models", headers={"origin": server.url})
        other = client.get("/v1/models", headers={"origin": "https://evil.example"})
    assert own.status_code == 200
    refused(other, 403)
    assert "access-control-allow-origin" not in other.headers
    with serving(export, "--cors", "https://good.example") as open_one, open_one.client() as client:
        good = client.get("/v1/models", headers={"origin": "https://good.example"})
        assert good.headers["access-control-allow-origin"] == "https://good.example"
        asked = client.options(
            "/generate",
            headers={
                "origin": "https://good.example",
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization",
            },
        )
        assert asked.status_code == 200


def test_metrics_count_by_version(server, export):
    before = figure(server, "minigpt_tokens_total")
    server.generate("The quick", max_tokens=5, ignore_end=True)
    assert figure(server, "minigpt_tokens_total") > before
    text = server.get("/metrics").text
    for name in (
        "minigpt_queue_texts", "minigpt_batch_texts", "minigpt_steps_total",
        "minigpt_time_to_first_token_seconds_bucket", "minigpt_time_per_token_seconds_count",
    ):  # fmt: skip
        assert f"{name}{{" in text
        assert f'version="{export}"' in text
    assert 'minigpt_requests_total{route="/generate",status="200"}' in text
    assert "passwd" not in text


def test_the_docs_page_loads_nothing_from_anywhere(server):
    page = server.get("/docs").text
    assert "/v1/chat/completions" in page
    assert "repetition_penalty" in page
    for outside in ("http://", "https://", "src=", "@import", "<script"):
        assert outside not in page.replace(server.url, "")
    with server.client() as client:
        assert client.get("/").headers["location"] == "/docs"
