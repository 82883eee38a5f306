"""A stage ends when the DVC that started it does, even by SIGKILL (standard library only)."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from pathlib import Path

from minigpt.process import SHELLS, is_alive, process_stat

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(grace_seconds: float = 3.0) -> None:
    """From now on SIGTERM when the parent is gone, SIGKILL when that does not help in time.

    The kernel sends the first at once on Linux; a thread that watches the parent's pid does the
    rest, and everything elsewhere. DVC starts a stage through $SHELL or /bin/sh, and dash stays
    between the two instead of becoming the stage: then the parent of that shell counts as well.
    """
    parent = os.getppid()
    above = _parent_of(parent) if "DVC_ROOT" in os.environ and _is_shell(parent) else None
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    orphan = "DVC_ROOT" in os.environ and 1 in (parent, above) and not is_alive(1, "dvc")
    if orphan or os.getppid() != parent:  # it died before the kernel knew of our wish
        raise SystemExit(128 + signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent and (above is None or _parent_of(parent) == above):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace_seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die-with-parent", daemon=True).start()


def end_when_asked() -> None:
    """Until a stage has handlers of its own, SIGTERM and Ctrl-C end it at once, and quietly.

    While Python imports there is nothing to save; the exit codes are those of every later moment.
    """

    def end(number: int, _frame: object) -> None:
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


def _is_shell(pid: int) -> bool:
    """Whether `pid` is a shell; False where the system has no /proc."""
    with contextlib.suppress(OSError):
        program = Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]
        return Path(os.fsdecode(program)).name in SHELLS
    return False


def _parent_of(pid: int) -> int | None:
    """The parent of `pid`; None where there is no such process, or no /proc."""
    with contextlib.suppress(OSError):
        return int(process_stat(pid)[1])
    return None
