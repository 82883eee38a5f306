"""`minigpt generate --in prompts.jsonl --out answers.jsonl`."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from minigpt.cli.model import INTERRUPTED, find_files, interruptible, load_model
from minigpt.cli.shared import talk
from minigpt.errors import BusyError, ParamsError
from minigpt.files import at_home
from minigpt.log import every, minutes, printable

if TYPE_CHECKING:
    from minigpt.generation.answer import Answer
    from minigpt.generation.batch import Line

PLAIN_SECONDS, LIVE_SECONDS = 5.0, 0.2
"""Between two lines of progress, in a log and on a terminal."""


def write_file(
    source: Path,
    out: Path,
    settings: Mapping[str, Any],
    reference: str,
    engine: str,
    slots: int,
    guesses: int,
) -> None:
    """Answer every prompt of `source` in `out`, from where it stands there.

    Raises:
        DataError: a file cannot be used, or `out` was made from something else.
        ParamsError: a setting is not allowed, or the model cannot do it.
        BusyError: another process writes `out`.
        Exit: Ctrl-C ended it.
    """
    from minigpt.generation import batch
    from minigpt.generation.scheduler import Scheduler
    from minigpt.process import take_lock

    source, out = at_home(source), at_home(out)
    refuse_places(source, out)
    total, wide = 0, slots
    for line in batch.read_prompts(source, settings):
        total, wide = total + 1, max(wide, line.request.beams)
    files = find_files(reference, engine)
    lock = out.with_name(f".{out.name}.lock")
    held = take_lock(lock)
    if held is None:
        raise BusyError(f"{out} is being written by another process. Wait for it, or end it")
    try:
        found = batch.standing(out, batch.read_prompts(source, settings), source, files)
        if found.answers == total:
            talk(f"{total:,} of {total:,} prompts are answered in {out}: nothing was to do")
            return

        def rest() -> "Iterator[Line]":
            return batch.remaining(batch.read_prompts(source, settings), found.answers)

        model = load_model(files, wide)
        batch.refuse_impossible(rest(), source, model)
        scheduler = Scheduler(model.engine, model.tokenizer, guesses=guesses)
        if found.answers:
            talk(f"goes on at {found.answers + 1:,}: so many were answered in {out} before")
        progress = Progress(total, found.answers)
        with interruptible() as interrupted:
            done = batch.write_answers(
                rest(), out, found.size, model, scheduler, progress.add, interrupted
            )
        progress.end()
        tell_the_end(progress, out, done)
        if not done:
            raise typer.Exit(INTERRUPTED)
    finally:
        lock.unlink(missing_ok=True)
        os.close(held)


def refuse_places(source: Path, out: Path) -> None:
    """Refuse files that cannot be read, written, or told apart.

    Raises:
        ParamsError: names the one.
    """
    if not source.is_file():
        what = "not a file" if source.exists() else "no such file"
        hint = "; it is read several times, so it cannot be a pipe" if source.exists() else ""
        raise ParamsError(f"--in {source}: {what}{hint}")
    if out.is_dir():
        raise ParamsError(f"--out {out}: a folder; name a file in it")
    if not out.parent.is_dir():
        raise ParamsError(f"--out {out}: there is no folder {out.parent}. Make it first")
    if out.exists() and out.samefile(source):
        raise ParamsError(f"--out {out}: the file of --in itself. Give another name")
    if out.exists() and not out.is_file():
        raise ParamsError(f"--out {out}: not a file, so it cannot be gone on with")
    if not os.access(out if out.exists() else out.parent, os.W_OK):
        raise ParamsError(f"--out {out}: cannot be written: permission denied")


def tell_the_end(progress: "Progress", out: Path, done: bool) -> None:
    """Say what is in the file now, and how to go on."""
    if done:
        seconds = time.monotonic() - progress.start
        talk(
            f"{progress.done:,} answers in {out} · {minutes(seconds)} · "
            f"{progress.tokens / max(seconds, 1e-9):,.0f} tokens a second"
        )
    else:
        talk(
            f"stopped at {progress.done:,} of {progress.total:,}: the same command goes on at "
            f"{progress.done + 1:,}"
        )
    if progress.dropped:
        count = f"{progress.dropped:,} prompts were" if progress.dropped > 1 else "1 prompt was"
        talk(
            f"{count} longer than the model sees: only the end was read (usage.dropped in the "
            "answers says how much was not)"
        )


class Progress:
    """The line that lives: `412 of 1,000 · 38 a second · 0:15 left`."""

    def __init__(self, total: int, before: int) -> None:
        """`before` were answered by a command before this one."""
        self.total, self.done, self.before = total, before, before
        self.start, self.tokens, self.dropped = time.monotonic(), 0, 0
        self._live = sys.stderr.isatty()
        say = self._over if self._live else talk
        self._say: Callable[[str], None] = every(LIVE_SECONDS if self._live else PLAIN_SECONDS, say)

    def add(self, answer: "Answer") -> None:
        """One more was written."""
        self.done += 1
        self.tokens += answer.written
        self.dropped += answer.dropped > 0
        if self.done < self.total:
            self._say(self.line())

    def line(self) -> str:
        """How far it is."""
        speed = (self.done - self.before) / max(time.monotonic() - self.start, 1e-9)
        left = minutes((self.total - self.done) / speed) if speed else "?"
        shown = f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
        return f"{self.done:,} of {self.total:,} · {shown} a second · {left} left"

    def end(self) -> None:
        """The line makes room for others."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _over(self, line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{printable(line)}")
        sys.stderr.flush()
