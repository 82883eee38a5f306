"""What `make up` started, as every process of this checkout can tell without importing Prefect."""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from minigpt.process import WORK, holder_of, is_alive, take_lock

LOCAL = "127.0.0.1"
UP, UP_LOCK = WORK / "up.json", WORK / "up.lock"
SUPERVISOR = "the supervisor of make up"
"""What the lock says of its holder; who only asks holds it too, for an instant."""
ASK_SECONDS = 5.0
MARK = "MINIGPT_UP"
"""Environment of everything that `make up` started: the checkout. `make down` goes by it."""
NIGHTLY = "0 3 * * *"
"""When the release flow runs by itself: minute hour day month weekday, local time."""
NIGHTLY_RUN = "release/nightly"
"""The flow and its deployment that does so, as Prefect's commands want them named."""
HEARTBEAT_SECONDS, ZOMBIE_SECONDS = 30, 90
BEATS = "minigpt-beats"
"""Tag of runs whose process says that often that it lives: the silence of others means nothing."""


def supervisor_pid(root: Path) -> int | None:
    """The process that keeps the services of this checkout alive; None where none does."""
    path, deadline = root / UP_LOCK, time.monotonic() + ASK_SECONDS
    while path.exists() and time.monotonic() < deadline:
        if (lock := take_lock(path)) is not None:
            os.close(lock)
            return None
        holder = holder_of(path)
        if holder["command"] == SUPERVISOR and is_alive(holder["pid"], "supervisor"):
            return int(holder["pid"])
        time.sleep(0.01)  # somebody else asks, or it has not written its name yet
    return None


def become_supervisor(root: Path) -> int | None:
    """The lock of the process that is to keep the services alive; None where another one is."""
    while (lock := take_lock(root / UP_LOCK, SUPERVISOR)) is None:
        if supervisor_pid(root) is not None:
            return None
    return lock


def read_up(root: Path) -> dict[str, Any] | None:
    """up.json, where what it speaks of is up; None otherwise."""
    pid = supervisor_pid(root)
    try:
        status = dict(json.loads((root / UP).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None  # it has just begun
    return status if status["pid"] == pid else None  # else a killed one left it


def server_url(root: Path) -> str | None:
    """The API of the Prefect server that `make up` started here; None where there is none."""
    service = ((read_up(root) or {}).get("services") or {}).get("prefect")
    return f"{service['url']}/api" if service and service["url"] else None


def marked(root: Path) -> Iterator[psutil.Process]:
    """Every living process that `make up` started here, children of killed ones too."""
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            if process.environ().get(MARK) == str(root.resolve()):
                yield process
        except (psutil.Error, OSError):
            continue  # another user's, or gone by now


def a_port(wanted: int) -> int:
    """`wanted` where nobody listens on it, else a free one of the system's choice."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            if os.name == "posix":  # what the last server left in TIME_WAIT does not count
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOCAL, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {LOCAL}")


def prefect_server(port: int, log_level: str) -> list[str]:
    """The command of a Prefect server."""
    import prefect

    return [
        sys.executable, "-m", "uvicorn", "--app-dir", str(prefect.__module_path__.parent),
        "--factory", "prefect.server.api.server:create_app", "--host", LOCAL, "--port", str(port),
        "--log-level", log_level, "--lifespan", "on",
    ]  # fmt: skip
