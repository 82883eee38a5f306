"""Keeps Prefect, the schedule, MLflow's UI and the champion's server alive: starts what dies.

`python -m pipelines.supervisor`, started by `make up`. Each service hangs on a lifeline, so all of
them end with this process, even by SIGKILL.
"""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from minigpt import log
from minigpt.files import write_json
from minigpt.log import say
from minigpt.process import WORK, tied
from minigpt.tracking.address import tracking_uri
from minigpt.tracking.store import open_store
from pipelines.api_url import publish, withdraw
from pipelines.services import (
    HEARTBEAT_SECONDS,
    LOCAL,
    MARK,
    UP,
    a_port,
    become_supervisor,
    prefect_server,
)

LOOK_SECONDS = 0.3
GIVES_UP = 3  # times that one may end before it has answered; it is tried on, but said
LONGEST_PAUSE = 60.0
LOG_BYTES = 1_000_000  # more of it is set aside at the next start, over what was before
GENTLE_SECONDS = 15.0  # Prefect's runner cancels its flows and pauses its schedules meanwhile
SERVER_SETTINGS = {
    "PREFECT__SERVER_FINAL": "1",
    # In memory, a slot that a killed run held would be lost with a killed server.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
        "prefect.server.concurrency.lease_storage.filesystem"
    ),
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": "60",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


@dataclass
class Service:
    """One process and how to tell that it works."""

    name: str
    command: Callable[["Service"], list[str]]
    settings: Callable[["Service"], Mapping[str, str]]
    port: int | None
    health: str = ""
    begun: Path | None = None
    """A file that it writes once it does what it is there for."""
    needs: "Service | None" = None
    awaited: bool = True
    """Whether `make up` waits until it answers."""
    hanging: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    process: Any = None
    child: int | None = None
    ready: bool = False
    failures: int = 0
    not_before: float = 0.0

    @property
    def url(self) -> str | None:
        """Where it answers; None for what does not listen."""
        return None if self.port is None else f"http://{LOCAL}:{self.port}"

    def pid(self) -> int | None:
        """The service's own process: the lifeline's child."""
        if self.process is not None and self.child is None:
            with contextlib.suppress(psutil.Error, IndexError):  # not there yet, or ended
                self.child = int(psutil.Process(self.process.pid).children()[0].pid)
        return self.child

    def start(self, root: Path) -> None:
        """Start it, on the port it had where that is still free."""
        if self.port is not None:
            self.port = a_port(self.port)
        path = root / WORK / "logs" / f"{self.name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.begun is not None:
            self.begun.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none yet, or (Windows) somebody reads it
            if path.stat().st_size > LOG_BYTES:
                path.replace(path.with_name(f"{path.name}.1"))
        with contextlib.ExitStack() as starting:
            output = starting.enter_context(path.open("ab"))
            pipes = {"stdout": output, "stderr": output}
            self.process = starting.enter_context(
                tied(self.command(self), root, self.settings(self), **pipes)
            )
            self.hanging = starting.pop_all()

    def stop(self, gently: bool = False) -> None:
        """End it and what it started; `gently` lets it put its things in order first."""
        if gently and (pid := self.pid()) is not None:
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).terminate()
                psutil.Process(pid).wait(GENTLE_SECONDS)
        self.hanging.close()
        self.process, self.child, self.ready = None, None, False

    def answers(self) -> bool:
        """Whether it does what it is there for."""
        if self.begun is not None:
            return self.begun.exists()
        if not self.health:
            return self.process.poll() is None
        try:
            urllib.request.urlopen(f"{self.url}{self.health}", timeout=5).close()  # noqa: S310
        except OSError:
            return False
        return True


def services(root: Path, cron: str) -> list[Service]:
    """All, in the order in which they are started; none for what lies elsewhere."""
    home = Path(os.environ.get("PREFECT_HOME") or root / ".prefect")
    home.mkdir(parents=True, exist_ok=True)
    elsewhere = os.environ.get("PREFECT_API_URL")
    common = {
        "PREFECT_HOME": str(home),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
    }
    server = Service(
        "prefect",
        lambda this: prefect_server(this.port or 0, "warning"),
        lambda this: common | SERVER_SETTINGS | {
            "PREFECT_API_URL": f"{this.url}/api",
            "PREFECT_SERVER_API_HOST": LOCAL,
            "PREFECT_SERVER_API_PORT": str(this.port),
            "PREFECT_SERVER_UI_API_URL": f"{this.url}/api",
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(home / "ui"),
        },
        port=4200,
        health="/api/health",
    )  # fmt: skip
    schedule = Service(
        "schedule",
        lambda this: [
            sys.executable, "-m", "pipelines.deployments", "--cron", cron,
            "--begun", str(this.begun),
        ],
        lambda _this: common | {"PREFECT_API_URL": elsewhere or f"{server.url}/api"},
        port=None,
        begun=root / WORK / "schedule.begun",
        needs=None if elsewhere else server,
    )  # fmt: skip
    # The checkout's own store it finds by itself, from where it starts.
    chosen = os.environ.get("MLFLOW_TRACKING_URI")
    store = {"MLFLOW_BACKEND_STORE_URI": chosen} if chosen else {}
    runs = Service(
        "mlflow",
        lambda this: [
            sys.executable, "-m", "mlflow", "ui", "--host", LOCAL, "--port", str(this.port),
            "--workers", "1", "--app-name", "minigpt",
        ],
        # Ten processes and a gigabyte less.
        lambda _this: {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | store,
        port=5000,
        health="/health",
    )  # fmt: skip
    all_of_them = [] if elsewhere else [server]
    all_of_them.append(schedule)
    if tracking_uri(root).startswith("sqlite"):
        all_of_them.append(runs)
    # It waits by itself until there is a champion, and nobody waits for it.
    model = Service(
        "serve",
        lambda this: [
            sys.executable, "-m", "minigpt.cli.main", "serve", "champion", "--ui", "--wait",
            "--host", LOCAL, "--port", str(this.port),
        ],
        lambda _this: {},
        port=8000,
        health="/readyz",
        awaited=False,
    )  # fmt: skip
    return [*all_of_them, model]


class Supervisor:
    """Looks after the services until it is told to stop."""

    def __init__(self, root: Path, services: list[Service], cron: str) -> None:
        self.root, self.services, self.cron = root, services, cron
        self.told: Any = None

    def look(self) -> None:
        """Start what is not there, notice what has begun to answer, and write up.json."""
        for service in self.services:
            if service.process is None:
                ready = service.needs is None or service.needs.ready
                if ready and time.monotonic() >= service.not_before:
                    was = service.url
                    service.start(self.root)
                    if service.url != was:
                        self.moved(service)
            elif service.process.poll() is not None:
                service.failures += 1
                pause = min(LONGEST_PAUSE, 0.5 * 2.0**service.failures)
                service.not_before = time.monotonic() + pause
                say(f"{service.name} ended (exit {service.process.returncode}), starts again")
                service.stop()
            elif not service.ready and service.answers():
                service.ready, service.failures = True, 0
        self.tell()

    def moved(self, service: Service) -> None:
        """Its port was taken: what needs it must learn the new one."""
        for other in self.services:
            if other.needs is service and other.process is not None:
                other.stop(gently=True)

    def tell(self) -> None:
        """Write up.json where something in it has changed."""
        ours = next((f"{s.url}/api" for s in self.services if s.name == "prefect"), None)
        state = {
            "pid": os.getpid(),
            "api": ours or os.environ.get("PREFECT_API_URL"),
            "cron": self.cron,
            "ready": all(service.ready for service in self.services if service.awaited),
            "failed": [s.name for s in self.services if s.awaited and s.failures >= GIVES_UP],
            "services": {
                s.name: {"url": s.url, "pid": s.pid(), "ready": s.ready} for s in self.services
            },
        }
        if state != self.told:
            write_json(self.root / UP, state)
            if ours is not None:
                publish(self.root, ours)
            self.told = state

    def stop(self) -> None:
        """End all of them; the schedule (it does not listen) first, while its server still does."""
        for service in sorted(self.services, key=lambda s: s.port is not None):
            if service.process is not None:
                service.stop(gently=service.port is None)
        withdraw(self.root)
        (self.root / UP).unlink(missing_ok=True)


def main(argv: list[str] | None = None) -> int:
    """Look after the services until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.supervisor", description=__doc__)
    parser.add_argument("--cron", required=True, help="when the release flow runs")
    options = parser.parse_args(argv)
    log.set_name("up")
    root = Path.cwd().resolve()
    os.environ[MARK] = str(root)
    stopping = threading.Event()
    for name in ("SIGTERM", "SIGINT"):
        signal.signal(getattr(signal, name), lambda *_: stopping.set())
    lock = become_supervisor(root)
    if lock is None:
        return 0  # two at once: the other one does it
    if tracking_uri(root).startswith("sqlite"):
        open_store(root)  # before two processes make it
    supervisor = Supervisor(root, services(root, options.cron), options.cron)
    try:
        while not stopping.wait(LOOK_SECONDS):
            supervisor.look()
    finally:
        supervisor.stop()
        os.close(lock)
    return 0


if __name__ == "__main__":
    sys.exit(main())
