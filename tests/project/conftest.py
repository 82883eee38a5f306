"""A second build, as different from the first as a place can be."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LOOPBACK = (
    "import fcntl, os, socket, struct, sys\n"
    "s = socket.socket()\n"
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x1 | 0x40))  # SIOCSIFFLAGS: up, running\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
GUARD = (
    "import sys\n"
    "def refuse(event, args):\n"
    "    if event == 'socket.connect' and isinstance(args[1], tuple):\n"
    "        if not str(args[1][0]).startswith(('127.', '::1', 'localhost')):\n"
    "            raise OSError(f'the guard saw a connection to {args[1]}')\n"
    "sys.addaudithook(refuse)\n"
)


DUMP = """
import atexit, json, os, sys
def dump():
    stage, folder = os.environ.get("DVC_STAGE"), os.environ.get("MODULES_DIR")
    found = sorted(m for m in sys.modules if m == "minigpt" or m.startswith("minigpt."))
    if folder and stage and any(os.path.basename(a) == f"{stage}.py" for a in sys.argv[:1]):
        with open(os.path.join(folder, f"{stage}.json"), "w") as file:
            json.dump(found, file)
atexit.register(dump)
"""


@pytest.fixture(scope="session")
def no_network():
    """(command prefix, code for sitecustomize) with which nothing elsewhere can be reached."""
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if tried.returncode == 0:
        return ("unshare", "-rn", sys.executable, "-c", LOOPBACK), ""
    return (), GUARD


@dataclass(frozen=True)
class Rebuilt:
    """A tiny project that plain `dvc repro` built."""

    project: Any
    said: str
    modules: Path
    """NAME.json of each stage: the modules of ours that it had loaded at its end."""


@pytest.fixture(scope="session")
def rebuilt(make_tiny, no_network, tmp_path_factory):
    """Built by `dvc repro` in another folder, time zone, locale, hash seed and umask, offline."""
    prefix, guard = no_network
    folder = tmp_path_factory.mktemp("rebuilt")
    other = make_tiny(folder / "другая папка")
    (folder / "sitecustomize.py").write_text(DUMP + guard)
    place = {
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "4242",
        "PYTHONPATH": os.pathsep.join([str(other.root), str(folder)]),
        "MODULES_DIR": str(folder),
    }
    old = os.umask(0o077)
    try:
        done = other.repro(env=place, prefix=prefix, tracker="mlflow")
    finally:
        os.umask(old)
    return Rebuilt(other, done.stdout + done.stderr, folder)
