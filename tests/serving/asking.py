"""What several tests of the server ask."""

import socket

from tests.patience import patience

ENDLESS = {"prompt": "x", "max_tokens": 1_000_000, "ignore_end": True}


def refused(answer, status):
    """The error of an answer that has OpenAI's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "\n" not in error["message"]
    return error


def alive(server):
    """Whether it still writes."""
    return server.generate("x", max_tokens=1, ignore_end=True)["usage"]["written"] == 1


def connect(server):
    """A bare connection."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=patience(30))


def figure(server, name):
    """The sum of a metric."""
    lines = server.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
