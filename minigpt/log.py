"""What a stage says while it works: `name: fact`, one line each, on stderr.

pipelines.runner reads those lines, so the name in front is a contract, not decoration.
"""

import sys
import time
from collections.abc import Callable

_stage = "minigpt"


def set_name(name: str) -> None:
    """Name the speaker of this process: the stage or the command."""
    global _stage
    _stage = name


def say(message: str) -> None:
    """Write one fact to stderr, flushed at once: whoever reads the pipe sees it live."""
    sys.stderr.write(f"{_stage}: {message}\n")
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
