"""What a stage says while it works: `name: fact`, one line each, on stderr.

pipelines.runner reads those lines, so the name in front is a contract, not decoration.
"""

import contextlib
import errno
import io
import os
import re
import sys
import time
from collections.abc import Callable, Iterator

from minigpt.errors import MiniGPTError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No room, as the system says it."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
SHOWN = 200
"""Characters of a name that is too long for any file."""
_stage = "minigpt"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def prepare_streams() -> None:
    """Let any text be written to stdout and stderr, whatever they are. First act of a program.

    What their encoding has no word for becomes "?" (a cp1252 pipe of Windows, the C locale). What
    was closed is opened on nothing, or the next file of ours would take its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_RDWR)  # the lowest free number: that of `name`
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(nothing, mode, encoding="utf-8"))  # noqa: SIM115, PTH123
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """A block whose output is piped into a program that may end first (`| head`): then so do we.

    Raises:
        SystemExit: it has; 141, and not a word, as of every program that a pipe ends: nobody takes
            for done what was cut off.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        raise SystemExit(128 + 13) from None


def _drop_output() -> None:
    """Let what stdout still holds go nowhere: Python flushes it once more at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """A block in which the system's refusal is for a person to mend, whatever it is about.

    No room, under `> log` too, and no permission: of a file that root made under sudo, say.

    Raises:
        MiniGPTError: the system refused.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            what = error.filename or "standard output, or a file of this command"
            problem = f"{what} cannot be written: {error.strerror}"
        elif error.errno == errno.ENAMETOOLONG:
            problem = f"{str(error.filename)[:SHOWN]}…: {error.strerror}, so it names no file"
        elif error.errno in FORBIDDEN and error.filename:
            problem = f"{error.filename}: {error.strerror}. Mend that, then run the same command"
        else:
            raise
        _drop_output()
        raise MiniGPTError(problem) from error


def set_name(name: str) -> None:
    """Name the speaker of this process: the stage or the command."""
    global _stage
    _stage = name


def printable(text: str, kept: str = "\n\t") -> str:
    """Text with control characters written out, but those in `kept`.

    A name, a tag or a file's text could else move the cursor, or write over what was said.
    """
    return CONTROL.sub(lambda m: m[0] if m[0] in kept else f"\\x{ord(m[0]):02x}", text)


def excerpt(text: str, most: int = 60) -> str:
    """The beginning of a text that somebody else wrote, on one line, with nothing that acts."""
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def say(message: str) -> None:
    """Write one fact to stderr, flushed at once: whoever reads the pipe sees it live."""
    sys.stderr.write(f"{_stage}: {printable(message)}\n")
    sys.stderr.flush()


def minutes(seconds: float) -> str:
    """Seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def every(seconds: float, speak: Callable[[str], None] = say) -> Callable[[str], None]:
    """A `say` for progress: the first message at once, then at most one in `seconds`."""
    last = -seconds

    def say_sometimes(message: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= seconds:
            last = now
            speak(message)

    return say_sometimes


def size_of(count: int) -> str:
    """1,900,000 → 1.9 MB; 20,000 → 20 kB; 14,990 → 14.9 kB, not 15: rounded down."""
    if count >= 10**6:
        return f"{count // 10**5 / 10:,.1f} MB"
    return f"{count // 1000} kB" if count >= 10**5 else f"{count // 100 / 10:g} kB"


def short(count: int) -> str:
    """4,900,000 → 4.9M; 246,691 → 0.2M; 96,000 → 96.0k."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size / 10:
            return f"{count / size:.1f}{letter}"
    return str(count)
