"""Which process holds something in a store, and whether it is still at work."""

import os
import socket
import time
from collections.abc import Mapping

CLOCK_SECONDS = 2.0  # a process's start moves a little when the machine's clock is set


def this_process() -> dict[str, str]:
    """What tells this process from every other: host, pid, and when it started."""
    import psutil

    return {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "started": str(psutil.Process().create_time()),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def is_of_this_machine(owner: Mapping[str, str]) -> bool:
    """Whether a process is, or was, one of this machine's."""
    return owner.get("host") == socket.gethostname()


def has_died(owner: Mapping[str, str]) -> bool:
    """Whether that process is gone; of another machine's process nobody here can say so."""
    import psutil

    if not is_of_this_machine(owner):
        return False
    try:
        process = psutil.Process(int(owner["pid"]))
        same = abs(process.create_time() - float(owner["started"])) < CLOCK_SECONDS  # pid reused?
        return not same or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
