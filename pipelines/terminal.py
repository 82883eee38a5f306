"""How every entry point of the pipelines ends on a terminal."""

import sys
from collections.abc import Callable
from pathlib import Path

from minigpt import log
from minigpt.errors import MiniGPTError


def script(root: Path, name: str) -> Path:
    """What to type in `root` for a command of this interpreter's environment."""
    path = Path(sys.executable).with_name(name)
    if path.is_relative_to(root):
        return path.relative_to(root)
    return path if path.exists() else Path(name)


def ended(work: Callable[[], int], stopped: str, debug: bool = False) -> int:
    """The exit code of `work`; what a person can mend becomes one message, Ctrl-C says `stopped`.

    With `debug` an error of ours shows its traceback.
    """
    try:
        with log.refusals_told(), log.reader_may_leave():
            return work()
    except MiniGPTError as error:
        if debug:
            raise
        sys.stderr.write(f"{log.printable(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"{stopped}\n")
        return 130
