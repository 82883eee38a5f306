"""Processes that neither outlive their parent nor work twice in one place (standard library only).

Signals do not travel by themselves: SIGTERM or SIGKILL to a flow or to `dvc` leaves what they had
started at work, and the next run would start it a second time beside it.
"""

import atexit
import contextlib
import getpass
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from minigpt.errors import BusyError, MiniGPTError
from minigpt.log import say, size_of

WORK = Path(".work")
NO_LINK = re.compile(r"No possible cache link types for '(.+?)'\..*")
LIFELINE = str(Path(__file__).with_name("lifeline.py"))  # run by path: no stage loads it
HELD = "MINIGPT_WORKSPACE_LOCK"
"""Environment of the holder's children: `<pid>:<lock file>`, so that they do not lock again."""

QUIET = {
    # Threads that wait must sleep: spinning ones starve a shared machine.
    "OMP_WAIT_POLICY": "passive",
    "TOKENIZERS_PARALLELISM": "false",
    # Nothing is sent anywhere.
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "true",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "ORT_DISABLE_TELEMETRY": "1",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Our own lines say what happens.
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "TQDM_DISABLE": "1",
}
LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXIES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "http_proxy", "https_proxy")
ASIDE = "MINIGPT_ASIDE_"
"""Begins the name under which a variable waits for those whom it does not harm."""
SHELLS = ("sh", "dash", "bash", "zsh", "ksh", "fish")
ONLINE_STAGE = "download"
"""The one stage that may ask the network: a source of kind hf needs the hub."""


def quiet_environment() -> None:
    """Put QUIET into the environment where the user has no wish of his own, and a name for him.

    Call it before anything heavy is imported: most of these are read once, at import.
    """
    for name, value in QUIET.items():
        # Not in a flow either: download would inherit it there, and take it for the user's wish.
        if name != "HF_HUB_OFFLINE" or os.environ.get("DVC_STAGE") not in (None, ONLINE_STAGE):
            os.environ.setdefault(name, value)
    # A proxy must not be asked for servers of this machine.
    exempt = [os.environ.get(name, "") for name in ("NO_PROXY", "no_proxy")]
    hosts = [host for value in exempt for host in value.split(",") if host]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    try:
        getpass.getuser()
    except (KeyError, ImportError, OSError):  # a container's number: DVC and torch ask for a name
        os.environ["USER"] = f"uid{os.getuid()}" if hasattr(os, "getuid") else "nobody"


def leave() -> NoReturn:
    """End this process, in success, without taking the interpreter apart (0.4 to 0.9 s with torch).

    Whatever Python does for others at its end is done, as multiprocessing does it.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def set_socks_aside() -> None:
    """Keep SOCKS proxies from httpx, which will not even speak to this machine where one is named.

    Prefect's client and server are of httpx, and speak to nobody else; `run_dvc` gives the
    variables back to the stages, which may ask the network. Where httpx can use them, they stay.
    """
    if importlib.util.find_spec("socksio") is not None:
        return
    for name in PROXIES:
        if os.environ.get(name, "").lower().startswith("socks"):
            os.environ[ASIDE + name] = os.environ.pop(name)


def take_lock(path: Path, name: str | None = None) -> int | None:
    """The descriptor of `path`, locked and naming this process; None while another holds it.

    `name` is what the next one is told; without it, this process's command line.

    The kernel frees the lock when the last process with that descriptor closes it or dies.

    Raises:
        MiniGPTError: the file cannot be opened: it is another user's, say.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        cure = "Mend its permissions (under sudo it became root's), then run the same command"
        raise MiniGPTError(f"{path}: cannot be locked: {error.strerror}. {cure}") from error
    try:
        _lock(descriptor)
    except OSError:
        os.close(descriptor)
        return None
    command = name or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    holder = {"pid": os.getpid(), "command": command, "since": time.strftime("%Y-%m-%d %H:%M")}
    with contextlib.suppress(OSError):  # a full disk takes the name, not the lock
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(holder).encode())
    return descriptor


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # far behind the text, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder_of(path: Path) -> dict[str, Any]:
    """Who wrote the lock file: pid, command, since; unknown while a new holder is writing it."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {"pid": 0, "command": "another process", "since": "just now"}


def named(holder: Mapping[str, Any]) -> str:
    """A holder in words."""
    return f"{holder['command']} (pid {holder['pid']}, since {holder['since']})"


def process_stat(pid: int) -> list[str]:
    """State, parent, group … of a process, from Linux' /proc (proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def is_alive(pid: int, word: str = "") -> bool:
    """Whether `pid` runs, is no zombie, and (where the system tells) has `word` in its command."""
    if sys.platform == "win32":
        return True  # os.kill(pid, 0) would send Ctrl-C there
    try:
        if Path("/proc/self/stat").exists():
            command = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes())
            # Empty in the instant of exec.
            return process_stat(pid)[0] not in "ZX" and (not command or word in command)
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


_workspace: int | None = None


@contextlib.contextmanager
def workspace_lock(root: Path, wait: bool = False, name: str | None = None) -> Iterator[None]:
    """Keep every other entry point of ours out of `root` for the length of the block.

    `name` is what those are told who find it held; without it, this process's command line.
    A child of the holder passes through. A holder that was killed still holds while its lifeline
    ends what it had started: that is waited for. Leftovers of a killed DVC are removed, and said.

    Raises:
        BusyError: another process holds it, and `wait` is False.
    """
    global _workspace  # one a process; `tied` hands it on to the lifeline
    path = root.resolve() / WORK / "workspace.lock"
    started, told = time.monotonic(), False
    while (lock := take_lock(path, name)) is None:
        holder = holder_of(path)
        if os.environ.get(HELD) == f"{holder['pid']}:{path}":
            yield
            return
        ending = not is_alive(holder["pid"]) and time.monotonic() - started < 10
        if not (wait or ending):
            raise BusyError(
                f"{path.parent.parent} is in use by {named(holder)}. "
                "Wait for it to end, or queue behind it: --wait (make run: WAIT=1 make run)"
            )
        if wait and not told:
            say(f"waiting for {named(holder)}")
            told = True
        time.sleep(0.2)
    try:
        _workspace, os.environ[HELD] = lock, f"{os.getpid()}:{path}"
        remove_stale_rwlock(root)
        yield
    finally:
        _workspace = None
        os.environ.pop(HELD, None)
        os.close(lock)


@contextlib.contextmanager
def stage_lock(stage: str, wait_s: float = 30, root: Path = Path()) -> Iterator[None]:
    """Keep a second writer of `stage` out, whoever started it.

    Raises:
        BusyError: another process still holds it after `wait_s` seconds.
    """
    path = root / WORK / f"{stage}.lock"
    deadline, told = time.monotonic() + wait_s, False
    while (lock := take_lock(path)) is None:
        if time.monotonic() > deadline:
            raise BusyError(
                f"{stage} is being built by {named(holder_of(path))}. "
                "Wait for it to end (or end it), then run the same command"
            )
        if not told:
            say(f"waiting up to {wait_s:.0f} s for {named(holder_of(path))}")
            told = True
        time.sleep(0.2)
    try:
        yield
    finally:
        os.close(lock)


def remove_stale_rwlock(root: Path) -> None:
    """Remove `.dvc/tmp/rwlock` when it is torn or names no living DVC, and say so.

    DVC asks only whether the pid exists: a zombie or a pid that was given away blocks it.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    for last_try in (False, True):
        try:
            lock = json.loads(path.read_text(encoding="utf-8"))
            readers = [entry for entries in lock.get("read", {}).values() for entry in entries]
            entries = [*lock.get("write", {}).values(), *readers]
            pids = {int(entry["pid"]) for entry in entries}
        except FileNotFoundError:
            return
        except (ValueError, AttributeError, KeyError, TypeError):
            if last_try:
                path.unlink(missing_ok=True)
                say("removed a torn lock file that a killed DVC left behind (.dvc/tmp/rwlock)")
            time.sleep(0.2)  # a living DVC may be in the middle of writing it
            continue
        if pids and not any(is_alive(pid, "dvc") for pid in pids):
            path.unlink(missing_ok=True)
            say("removed the lock entries of a DVC that was killed (.dvc/tmp/rwlock)")
        return


@contextlib.contextmanager
def tied(
    argv: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None, **popen: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run `argv` through a lifeline; at the end of the block, or of this process, it ends too.

    `popen` goes to Popen; stdout that goes there is UTF-8. The lifeline leads a session of its own,
    so Ctrl-C in the terminal reaches this process only, which then ends the block.
    """
    inherited = [] if _workspace is None or sys.platform == "win32" else [_workspace]
    encoding = {"PYTHONIOENCODING": "utf-8:replace"} if "stdout" in popen else {}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", LIFELINE, *argv],
        cwd=cwd, env={**os.environ, **encoding, **(env or {})}, stdin=subprocess.PIPE, text=True,
        encoding="utf-8", errors="replace", start_new_session=True, pass_fds=inherited, **popen,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.stdin:
            process.stdin.close()
        killed = process.wait() < 0
        if killed and sys.platform != "win32":  # then it did not end its group
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.stdout:
            process.stdout.close()


def run_dvc(
    args: Sequence[str],
    cwd: Path,
    on_line: Callable[[str], None] | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run `dvc ARGS` and return its exit code; it and its stages end when this process does.

    `on_line` gets each line of stdout and stderr as it comes; without it both are inherited.
    """
    here = str(Path(sys.executable).parent)
    path = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])  # stages say `python`
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} if on_line else {}
    aside = {n.removeprefix(ASIDE): v for n, v in os.environ.items() if n.startswith(ASIDE)}
    command = [sys.executable, "-m", "dvc", *args]
    ours = {"PATH": path, "SHELL": stage_shell(), **aside, **(env or {})}
    with tied(command, cwd, ours, **pipes) as process:
        for line in process.stdout or ():
            if on_line:
                on_line(NO_LINK.sub(_no_room, line.rstrip("\n")))
        return process.wait()


def _no_room(said: re.Match[str]) -> str:
    """Why a file did not come out of the cache: DVC names the last way of all that it tried."""
    folder = next(path for path in Path(said[1]).parents if path.is_dir())
    if not os.access(folder, os.W_OK):
        return f"{said[1]} cannot be restored: {folder} cannot be written. Mend its permissions"
    free = size_of(shutil.disk_usage(folder).free)
    return f"{said[1]} cannot be restored: the disk is full ({free} free). Make room"


def stage_shell() -> str:
    """SHELL, through which DVC starts stages; /bin/sh where it is none (a service's nologin)."""
    named = os.environ.get("SHELL", "")
    return named if Path(named).name in SHELLS and os.access(named, os.X_OK) else "/bin/sh"
