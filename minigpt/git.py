"""The `git` command, as every part that needs it runs it (standard library only)."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from minigpt.errors import MiniGPTError

ELSEWHERE = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX",
)  # fmt: skip
"""What leads git away from the folder it starts in: a hook sets it, or a dotfiles export."""


def run_git(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run git in `folder`, without the user's hooks; `env` comes on top of the environment.

    It is the repository of `folder` that git works on, whatever the environment names.

    Raises:
        MiniGPTError: git is not installed.
    """
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    try:
        return subprocess.run(
            command, cwd=folder, input=stdin, capture_output=True, env={**kept, **(env or {})}
        )
    except FileNotFoundError as error:
        raise MiniGPTError("git is not installed; every version records its commit") from error


def quoted(path: Path) -> str:
    """A folder as git reads it from a list of object stores: not cut at a `:` or a line's end."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def reason(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Why git failed, in its own words: the first line."""
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[0] if lines else "no reason given"


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    """What git prints.

    Raises:
        MiniGPTError: git is not installed, or refuses.
    """
    done = run_git(folder, *arguments, stdin=stdin)
    if done.returncode:
        raise MiniGPTError(f"git {' '.join(arguments)[:80]} in {folder}: {reason(done)}")
    return done.stdout
