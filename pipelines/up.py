"""`make up` and `make down`: Prefect, the schedule, MLflow's UI, the champion; on 127.0.0.1.

Starts what is not up, and says where everything is; `make down` ends all of it.
Another schedule: make up ARGS='--cron "30 5 * * 1"' (minute hour day month weekday, local time).
To change the schedule of what is up: make down first.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from minigpt import log
from minigpt.errors import BusyError, MiniGPTError, ParamsError
from minigpt.process import WORK, holder_of, named, take_lock
from minigpt.tracking.address import shown, tracking_uri
from minigpt.tracking.store import open_store
from pipelines.api_url import published, withdraw
from pipelines.services import (
    MARK,
    NIGHTLY,
    NIGHTLY_RUN,
    UP,
    marked,
    read_up,
    server_url,
    supervisor_pid,
)
from pipelines.terminal import ended, script

START_SECONDS, STOP_SECONDS = 240.0, 40.0
WHAT = {
    "prefect": "the runs, stage by stage; start one, pause the schedule",
    "mlflow": "curves, versions, figures",
    "schedule": "the release flow by itself",
    "serve": "the champion, on a page and for programs (/v1, /docs)",
}


def up(root: Path, cron: str | None = None) -> list[str]:
    """Start what is not up; return where everything is. Without `cron`: as it is, or nightly.

    Raises:
        ParamsError: it is up with a schedule other than `cron`.
        MiniGPTError: the store is not in order, a Prefect server of the user's does not answer, or
            a service does not start.
    """
    if (status := read_up(root)) and cron not in (None, status["cron"]):
        raise ParamsError(
            f"{root.name} is up already, with the schedule {status['cron']!r}; nothing was "
            f"changed. For another: make down, then make up ARGS='--cron \"{cron}\"'"
        )
    if status and status["ready"]:
        return told(root, status, "is up already")
    began, supervisor, name = time.monotonic(), None, "up"
    if supervisor_pid(root) is None:
        from pipelines.server import refuse_silent, users_server  # with Prefect

        if theirs := users_server(root):
            refuse_silent(theirs["PREFECT_API_URL"])
        open_store(root)  # it raises here, in one line, where it cannot be opened
        end(list(marked(root)))  # what a killed supervisor left
        log.say("starting Prefect, the schedule, MLflow's UI and the server: half a minute to two")
        supervisor = start(root, cron or NIGHTLY, theirs)
    while time.monotonic() - began < START_SECONDS:
        status = read_up(root)
        if status and status["ready"]:
            return told(root, status, f"is up ({time.monotonic() - began:.0f} s)")
        if status and status["failed"]:
            name = status["failed"][0]
            break
        if supervisor and supervisor.poll():
            break
        time.sleep(0.2)
    path = WORK / "logs" / f"{name}.log"
    todo = "To end what does run: make down"
    if supervisor is not None:
        down(root, force=True)
        todo = "Nothing is left running"
    raise MiniGPTError(
        f"{name} does not start: {last_line(root / path)}. {todo}; all it said: {path.as_posix()}"
    )


def start(root: Path, cron: str, prefect: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Start the supervisor, apart from this terminal; `prefect` names a server of the user's."""
    path = root / WORK / "logs" / "up.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.supervisor", "--cron", cron],
            cwd=root, env=os.environ | {MARK: str(root.resolve()), **prefect},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip


def down(root: Path, force: bool = False) -> list[str]:
    """End everything that `make up` started here, whatever was killed of it meanwhile.

    Raises:
        BusyError: a run started by hand tells its story to that server; not with `force`.
    """
    pid, ours = supervisor_pid(root), list(marked(root))
    if not force:
        refuse_under_a_run(root, {process.pid for process in ours})
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: supervisor_pid(root) is None, STOP_SECONDS)
    end(list(marked(root)))
    (root / UP).unlink(missing_ok=True)
    withdraw(root)
    if pid is None and not ours:
        return ["nothing is up here. To start it: make up"]
    return [
        "down: Prefect, the schedule, MLflow's UI and the server have ended. To start them: make up"
    ]


def refuse_under_a_run(root: Path, ours: set[int]) -> None:
    """Refuse to take the server from under a run of somebody else's."""
    if server_url(root) is None:
        return
    path = root / WORK / "workspace.lock"
    if (lock := take_lock(path)) is not None:
        os.close(lock)
        return
    holder = holder_of(path)
    if holder["pid"] not in ours:
        raise BusyError(
            f"{named(holder)} is recorded by the server that would end. "
            "Wait for it to end, or: make down ARGS=--force"
        )


def end(processes: list[psutil.Process]) -> None:
    """Ask, then kill; returns when all of them are gone."""
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            try:
                ask(process)
            except psutil.Error:
                continue
        _, processes = psutil.wait_procs(processes, timeout=5)


def told(root: Path, status: dict[str, Any], how: str) -> list[str]:
    """Where everything is, and how to end it."""
    lines, services, api = [f"{root.name} {how}"], status["services"], status.get("api")
    for name in (key for key in WHAT if key in services):
        place = services[name]["url"] or f"pid {services[name]['pid']}"
        when = f": {status['cron']}{paused(api)}" if name == "schedule" else ""
        if name == "serve" and not services[name]["ready"]:
            when = "; not yet: it is being loaded, or there is no champion"
        lines.append(f"  {name:<10}{place:<24}{WHAT[name]}{when}")
    if "prefect" not in services:
        lines.append(f"  {'prefect':<10}{api}  yours")
    if "mlflow" not in services:
        lines.append(f"  {'mlflow':<10}{shown(tracking_uri(root))}  yours")
    # In this folder Prefect finds a server of ours by itself, unless the environment names another.
    by_itself = published(root) == api and os.environ.get("PREFECT_API_URL") in (None, "", api)
    address = "" if by_itself else f"PREFECT_API_URL={api} "
    run = f"To run it now: {address}{script(root, 'prefect')} deployment run {NIGHTLY_RUN}"
    elsewhere = (
        [f"  in another folder, before it: export PREFECT_API_URL={api}"] if by_itself else []
    )
    return [*lines, run, *elsewhere, "To end all of it: make down"]


def paused(api: str | None) -> str:
    """What to say of a nightly run that somebody has paused."""
    try:
        url = f"{api}/deployments/name/{NIGHTLY_RUN}"
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 (as `refuse_silent`)
            deployment = json.load(answer)
    except (OSError, ValueError):  # a server of the user's that wants a key, say
        return ""
    active = [schedule["active"] for schedule in deployment["schedules"]]
    return "" if any(active) and not deployment["paused"] else " (paused in Prefect)"


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when it holds, or after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def last_line(path: Path) -> str:
    """The last line of a log that is not blank."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no word")


def check(cron: str) -> None:
    """Refuse a schedule that Prefect would refuse.

    Raises:
        ParamsError: it is not five fields that mean a time.
    """
    from prefect.client.schemas.schedules import CronSchedule

    try:
        CronSchedule(cron=cron)
    except ValueError as error:
        raise ParamsError(
            f"--cron {cron!r}: expected minute hour day month weekday, as {NIGHTLY!r}"
        ) from error


def main(argv: list[str] | None = None) -> int:
    """Start or end; what a person can mend becomes one message and an exit code."""
    parser = argparse.ArgumentParser(
        prog="make up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cron", help=f"of the release flow; without it {NIGHTLY!r}")
    parser.add_argument("--down", action="store_true", help="end everything")
    parser.add_argument("--force", action="store_true", help="down, though a run uses the server")
    options = parser.parse_args(argv)
    log.set_name("make up")
    stopped = "stopped waiting; what was started goes on. To end it: make down"
    return ended(lambda: run(Path.cwd().resolve(), options), stopped)


def run(root: Path, options: argparse.Namespace) -> int:
    """Do what was asked, and say it."""
    if options.down:
        lines = down(root, options.force)
    else:
        check(options.cron or NIGHTLY)
        lines = up(root, options.cron)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
