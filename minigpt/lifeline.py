"""A small process between a flow and a command: it ends the whole group when the flow is gone.

`python -I -S lifeline.py COMMAND…`, in a session of its own, which the command shares. The caller
holds the write end of its stdin and nothing else does, so end-of-file means that the caller has
died, even by SIGKILL. The hole, SIGKILL of this process, is closed by PR_SET_PDEATHSIG on the
command and by `parent.die_with_parent` in what the command starts.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(argv: list[str]) -> int:
    """Run `argv` until it ends or the caller does; its exit code (128 + n after signal n)."""
    over = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        over.set()

    # Handlers, not SIG_IGN: exec puts the default back, even where a script started us with
    # SIGINT ignored.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # no SIGHUP on Windows
            signal.signal(getattr(signal, name), stop)
    # Safe to run Python between fork and exec: there is one thread so far.
    before_exec = die_with_lifeline if sys.platform == "linux" else None
    command = subprocess.Popen(argv, stdin=subprocess.DEVNULL, preexec_fn=before_exec)

    def wait_for_caller() -> None:
        while os.read(0, 1):
            pass
        over.set()

    threading.Thread(target=wait_for_caller, daemon=True).start()
    while command.poll() is None and not over.wait(0.02):
        pass
    if command.returncode is None or command.returncode < 0:  # a killed command leaves children
        end_group(command)
    code = command.wait()
    return code if code >= 0 else 128 - code


def die_with_lifeline() -> None:
    """In the command, before exec: SIGTERM when the thread that started it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


if sys.platform == "win32":

    def end_group(command: subprocess.Popen[bytes]) -> None:
        """Kill the command and its children: there is no asking on Windows."""
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(command.pid)], check=False)

else:

    def end_group(command: subprocess.Popen[bytes]) -> None:
        """Ask (DVC reports and unlocks on SIGINT), ask harder, kill; less than 4 s in all.

        The signals reach this process too: it has handlers for the first two, the last ends it.
        """
        for number, seconds in ((signal.SIGINT, 2.0), (signal.SIGTERM, 1.5)):
            os.killpg(0, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if command.poll() is not None and not others_in_group():
                    return
                time.sleep(0.05)
        os.killpg(0, signal.SIGKILL)


def others_in_group() -> bool:
    """Whether another process of this group is alive; False where the system has no /proc."""
    with contextlib.suppress(FileNotFoundError):
        folders = (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())
        return any(int(f.name) != os.getpid() and alive_in_group(f) for f in folders)
    return False


def alive_in_group(folder: Path) -> bool:
    """Whether the process of that /proc folder is in this group and no zombie."""
    try:
        stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        state, _parent, group = stat.rpartition(")")[2].split()[:3]
    except OSError:
        return False
    return int(group) == os.getpgrp() and state != "Z"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
