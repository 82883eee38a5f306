"""Prefect's home in the project, and a server for as long as the flow's process lives.

Prefect starts such a server itself, but gives it 20 s (not enough on a busy machine) and leaves it
behind when the flow is killed. Ours starts while other things are made ready, and ends with us.

`make up` during such a run starts a second server on the same database. That is safe: SQLite keeps
their writes apart (WAL, 60 s of patience), the temporary one leaves schedules and slots alone, and
both tell silence by the one table of heartbeats; a run that has ended stays as it ended. Only two
that make the database at once collide: one of them ends, and the same command works.
"""

import atexit
import contextlib
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from prefect.logging.configuration import ensure_logging_setup
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_KEY,
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    temporary_settings,
)

from minigpt.errors import MiniGPTError
from minigpt.log import size_of
from minigpt.process import WORK, tied
from pipelines.api_url import published
from pipelines.services import (
    HEARTBEAT_SECONDS,
    LOCAL,
    a_port,
    prefect_server,
    server_url,
)

START_SECONDS, ANSWER_SECONDS = 180.0, 10.0
LEAST_ROOM = 100_000_000
"""Bytes free on the disk, below which nothing is begun."""
EPHEMERAL = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
}


def log_to_file(root: Path) -> None:
    """Send what Prefect and other libraries log to .work/logs/flow.log: the terminal is ours."""
    ensure_logging_setup()  # done later, it would close our handler
    path = root / WORK / "logs" / "flow.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, mode="w", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.getLogger().handlers = [handler]


def start_server(root: Path) -> Callable[[], None]:
    """Start a server unless PREFECT_API_URL names one or `make up` runs one here.

    Call the result to wait until it answers. Its database lies in `root`/.prefect. It is stopped
    when this process ends, however it ends.
    """
    # However often is usual there: silence ends a run of ours, see deployments.zombies.
    use({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: HEARTBEAT_SECONDS})
    if theirs := users_server(root).get(PREFECT_API_URL.name):
        return lambda: refuse_silent(theirs)
    if ours := server_url(root):
        use({PREFECT_API_URL: ours})
        missing = f"what make up started does not answer at {ours}. Run: make down, then make up"
        return lambda: wait_for(ours, START_SECONDS, missing)
    if (free := shutil.disk_usage(root).free) < LEAST_ROOM:
        raise MiniGPTError(
            f"{root.resolve()}: {size_of(free)} of its disk are free, and a build needs 2 GB "
            "(see: minigpt doctor). Make room, then run the same command"
        )
    port = a_port(0)
    home = Path(os.environ.get("PREFECT_HOME") or root.resolve() / ".prefect")
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MiniGPTError(
            f"{home}: Prefect's folder cannot be made: {error.strerror}. Mend that, or name "
            "another one as PREFECT_HOME"
        ) from error
    if not (home / "prefect.db").exists():
        print("set-up     Prefect makes its database, once …", flush=True)
    url = f"http://{LOCAL}:{port}/api"
    log = root / WORK / "logs" / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as starting:
        output = starting.enter_context(log.open("wb"))
        env = {**EPHEMERAL, "PREFECT_HOME": str(home), "PREFECT_API_URL": url}
        process = starting.enter_context(
            tied(prefect_server(port, "error"), root, env, stdout=output, stderr=output)
        )
        # atexit runs after Prefect's own threads have sent what they hold.
        atexit.register(starting.pop_all().close)
    use({PREFECT_API_URL: url, PREFECT_HOME: home})
    silent = f"Prefect's server did not start; what it said: {log}"
    return lambda: wait_for(url, START_SECONDS, silent, lambda: process.poll() is None)


def users_server(root: Path) -> dict[str, str]:
    """The server that the user's environment, .env or profile names, as environment variables.

    Empty where they name none, or the one of `make up` (by prefect.toml).
    """
    found = {}
    for setting in (PREFECT_API_URL, PREFECT_API_KEY, PREFECT_API_AUTH_STRING):
        value = os.environ.get(setting.name) or setting.value()
        secret = getattr(value, "get_secret_value", None)
        if value := secret() if secret else value:
            found[setting.name] = str(value)
    ours = found.get(PREFECT_API_URL.name) in (None, published(root))
    return {} if ours else found


def refuse_silent(configured: str) -> None:
    """Refuse a PREFECT_API_URL at which nobody answers.

    Raises:
        MiniGPTError: nobody does.
    """
    missing = f"no Prefect server answers at {configured}. Start it, or unset PREFECT_API_URL"
    wait_for(configured, ANSWER_SECONDS, missing)


def use(settings: dict[Any, Any]) -> None:
    """Prefect's settings for the rest of this process."""
    staying = contextlib.ExitStack()
    staying.enter_context(temporary_settings(settings))
    atexit.register(staying.close)


def wait_for(
    url: str, seconds: float, otherwise: str, while_true: Callable[[], bool] = lambda: True
) -> None:
    """Return when the API at `url` answers.

    Raises:
        MiniGPTError: it did not in `seconds`, or `while_true` no longer held; says `otherwise`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and while_true():
        try:
            # http: our own, or what Prefect's settings name
            urllib.request.urlopen(f"{url}/health", timeout=5).close()  # noqa: S310
        except urllib.error.HTTPError:
            return  # it answers, if only that it wants a key
        except ValueError:
            break  # no address: asking again would not help
        except (OSError, HTTPException):  # the latter where another kind of server answers
            time.sleep(0.1)
        else:
            return
    raise MiniGPTError(otherwise)
