"""The `git` command, as every part that needs it runs it (standard library only)."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from minigpt.errors import MiniGPTError


def run_git(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run git in `folder`, without the user's hooks; `env` comes on top of the environment.

    Raises:
        MiniGPTError: git is not installed.
    """
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    try:
        return subprocess.run(
            command, cwd=folder, input=stdin, capture_output=True, env={**os.environ, **(env or {})}
        )
    except FileNotFoundError as error:
        raise MiniGPTError("git is not installed; every version records its commit") from error


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
