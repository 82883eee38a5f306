"""What the server tells whoever watches its terminal: one line, with the time, on stderr."""

import sys
import time

from minigpt.log import printable


def notice(message: str) -> None:
    """Say it at once."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')}  {printable(message, kept='')}\n")
    sys.stderr.flush()


def streams(count: int) -> str:
    """How many texts are open, in words."""
    return "1 open stream" if count == 1 else f"{count} open streams"


def short_digest(digest: str) -> str:
    """Beginning and end of a sha256: 5f1c…e2."""
    return f"{digest[:4]}…{digest[-2:]}" if digest else "no digest"
