"""The `git` command, as every part that needs it runs it (standard library only)."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from minigpt.errors import MiniGPTError, ParamsError

ELSEWHERE = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX",
)  # fmt: skip
"""What leads git away from the folder it starts in: a hook sets it, or a dotfiles export."""
START = 'git add -A && git commit -m "start"'
CURES = (
    (r"not a git repository", f"Run: git init && {START} (or git clone what you copied)"),
    (r"Needed a single revision|ambiguous argument 'HEAD'|no commits yet", f"Run: {START}"),
    (r"index\.lock': File exists", "Another git is at work; where none is, remove that file"),
    (r"shallow", "Run: git fetch --unshallow"),
    (
        r"corrupt|bad object|unable to read (tree|sha1)|object file .* is empty|bad tree|bad file",
        "Run: git fsck, and fetch from where the objects are whole; else clone again",
    ),
    (r"Permission denied|insufficient permission", "Mend the permissions of .git"),
    (r"No space left|Disk quota", "Make room"),
)
"""What git says, and what mends it."""
DUBIOUS = re.compile(r"dubious ownership in repository at '(.+)'")


def run_git(
    folder: Path,
    *arguments: str,
    stdin: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run git in `folder`, without the user's hooks; `env` comes on top of the environment.

    Git works on the repository of `folder`, whatever the environment names, and speaks English.

    Raises:
        MiniGPTError: git is not installed, or will not open a repository of another user's.
    """
    command = ["git", "-c", "core.hooksPath=/dev/null", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    environment |= {"LC_ALL": "C", "LANGUAGE": "C"}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            input=stdin,
            capture_output=True,
            env={**environment, **(env or {})},
        )
    except OSError as error:
        if not isinstance(error, FileNotFoundError) or error.filename != "git":
            raise MiniGPTError(f"{error.filename or folder}: {error.strerror}") from error
        raise MiniGPTError(
            "git is not installed; every version records its commit. Install git"
        ) from error
    if done.returncode and (owned := DUBIOUS.search(done.stderr.decode(errors="replace"))):
        raise MiniGPTError(
            f"{owned[1]} belongs to another user, so git does not open it. If you trust it, run: "
            f"git config --global --add safe.directory {shlex.quote(owned[1])}"
        )
    return done


def quoted(path: Path) -> str:
    """A folder as git reads it from a list of object stores: not cut at a `:` or a line's end."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def reason(done: "subprocess.CompletedProcess[bytes]") -> str:
    """Why git failed, in its own words, and what mends it where that is known."""
    said = done.stderr.decode(errors="replace").strip()
    lines = said.splitlines() or ["no reason given"]
    first = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[0])
    cure = next((cure for words, cure in CURES if re.search(words, said)), None)
    return f"{first.removesuffix('.')}. {cure}" if cure else first


def require_git(folder: Path) -> str:
    """The commit that is checked out in `folder`.

    Raises:
        ParamsError: there is none.
        MiniGPTError: git is not installed, or will not open a repository of another user's.
    """
    done = run_git(folder, "rev-parse", "--verify", "HEAD^{commit}")
    if done.returncode:
        raise ParamsError(
            f"{folder} is not a git checkout with a commit, and every run records the commit it "
            f"was made from: {reason(done)}"
        )
    return done.stdout.decode().strip()


def git(folder: Path, *arguments: str, stdin: bytes | None = None) -> bytes:
    """What git prints.

    Raises:
        MiniGPTError: git is not installed, or refuses.
    """
    done = run_git(folder, *arguments, stdin=stdin)
    if done.returncode:
        raise MiniGPTError(f"git {' '.join(arguments)[:80]} in {folder}: {reason(done)}")
    return done.stdout
