"""The table of a run as a person sees it: one line a stage, the last one alive on a terminal."""

import shutil
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from minigpt.log import minutes, printable
from pipelines.runner import Outcome, Result

PLAIN_SECONDS = 5.0  # between two lines about a running stage where the output is a log
ERASE = "\r\x1b[2K"


class Display:
    """Rows are held back until something else than `unchanged` is to be told."""

    def __init__(
        self,
        out: TextIO,
        title: str,
        stages: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`title` goes above the table; `stages` gives the width of its first column."""
        self.out, self.clock = out, clock
        self.width = max(map(len, ["stage", *stages])) + 2
        self.alive = out.isatty()
        self.waiting_rows: list[str] | None = [
            title,
            "",
            self.row("stage", "outcome", "time", "what happened"),
        ]
        self.began = self.shown = clock()

    def row(self, stage: str, outcome: str, time: str, said: str) -> str:
        """One line of the table."""
        words = printable(said, kept="")
        return f"{stage:<{self.width}}{outcome:<10}{time:>6}    {words}".rstrip()

    def checking(self, stage: str) -> None:
        """DVC looks whether the stage is up to date."""
        self.began = self.shown = self.clock()
        self.live(self.row(stage, "checking", "", ""))

    def started(self, stage: str) -> None:
        """It is not: its command runs."""
        self.began = self.shown = self.clock()
        self.release()
        self.live(self.row(stage, "running", "0:00", ""))

    def said(self, stage: str, text: str) -> None:
        """A line of the running stage."""
        line = self.row(stage, "running", minutes(self.clock() - self.began), text)
        if self.alive:
            self.live(line)
        elif self.clock() - self.shown >= PLAIN_SECONDS:
            self.shown = self.clock()
            self.line(line)

    def finished(self, result: Result) -> None:
        """The stage's last row; a failure's further lines are for `failure`."""
        said = result.said.splitlines()[0] if result.said else ""
        row = self.row(result.stage, result.outcome, minutes(result.seconds), said)
        if result.outcome is Outcome.UNCHANGED and self.waiting_rows is not None:
            self.waiting_rows.append(row)
            return
        self.release()
        self.line(row)

    def release(self) -> None:
        """Write the rows held back."""
        for row in self.waiting_rows or ():
            self.line(row)
        self.waiting_rows = None

    def line(self, text: str) -> None:
        """A line that stays."""
        self.out.write(f"{ERASE if self.alive else ''}{text}\n")
        self.out.flush()

    def live(self, text: str) -> None:
        """On a terminal, a line that the next one replaces."""
        if self.alive:
            width = shutil.get_terminal_size().columns - 1
            self.out.write(f"{ERASE}{text[:width]}")
            self.out.flush()

    def close(self) -> None:
        """Leave no live line behind."""
        if self.alive:
            self.out.write(ERASE)
            self.out.flush()
