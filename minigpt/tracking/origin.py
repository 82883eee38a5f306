"""Where a run comes from, as MLflow's pages show it: its name, user, source file and commit.

These are facts of the record alone: none of them enters an output.
"""

import contextlib
import getpass
import os
import sys
from pathlib import Path

from minigpt.errors import MiniGPTError
from minigpt.git import require_git
from minigpt.graph import UNREADABLE
from minigpt.yaml12 import read_yaml

USER, COMMIT = "mlflow.user", "mlflow.source.git.commit"
BETWEEN = " · "
SOURCE, SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"


def origin(root: Path) -> dict[str, str]:
    """The tags of a run that this process begins for the checkout `root`."""
    tags = {USER: user(), SOURCE: program(root), SOURCE_TYPE: "LOCAL"}
    with contextlib.suppress(MiniGPTError):  # no git, or no commit yet
        tags[COMMIT] = require_git(root)
    return tags


def user() -> str:
    """Who is at work; a number where the system knows no name."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


def program(root: Path) -> str:
    """The file that this process runs: relative to `root` where it lies there, else its name."""
    path = Path(getattr(sys.modules["__main__"], "__file__", None) or sys.executable)
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.name


def run_name(kind: str, model: str | None) -> str:
    """`pretrain · minigpt-tiny`: what it is for, and what the versions are called."""
    return kind if model is None else f"{kind}{BETWEEN}{model}"


def model_name(root: Path) -> str | None:
    """What the checkout's params.yaml calls its versions; each preset has another name for them.

    None where that cannot be told: whoever needs the params says why.
    """
    try:
        params = read_yaml((root / "params.yaml").read_text(encoding="utf-8"))
        return str(params["release"]["name"])
    except (OSError, *UNREADABLE):
        return None
