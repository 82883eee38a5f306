"""One stage = one `dvc repro --single-item`: what DVC says is told apart, stage lines are kept."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from minigpt.files import write_text
from minigpt.process import WORK, run_dvc
from pipelines.lockfile import keep_lock

LOGS = WORK / "logs"
SILENT = "it said nothing"


class Outcome(StrEnum):
    """What became of a stage."""

    RAN = "ran"
    RESTORED = "restored"
    """Its outputs came from DVC's cache: it had run with these inputs before."""
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class Result:
    """How a stage ended."""

    stage: str
    outcome: Outcome
    seconds: float
    said: str = ""
    """What happened, in the stage's own words; where it failed, all of its last message."""
    digest: str | None = None
    """Of everything it wrote (`StageSpec.output_digest`)."""


class Watcher(Protocol):
    """Who looks on while a stage works."""

    def started(self, stage: str) -> None:
        """The stage's command was started (it is neither unchanged nor restored)."""

    def said(self, stage: str, text: str) -> None:
        """The stage said a line."""


# dvc/stage/__init__.py, cache.py and run.py; DVC has no other word for what it did.
DVC_SAYS = (
    (re.compile(r"^Stage '.+' didn't change, skipping"), Outcome.UNCHANGED),
    (re.compile(r"^Stage '.+' is cached - skipping run"), Outcome.RESTORED),
    (re.compile(r"^Running stage '.+':"), Outcome.RAN),
)
DVC_GIVES_UP = re.compile(r"^ERROR: ")
EXIT_STATUS = re.compile(r"exited with (-?\d+)")


@dataclass
class Reader:
    """Reads what one `dvc repro --single-item` prints."""

    stage: str
    watcher: Watcher
    outcome: Outcome | None = None
    said: str = ""
    lines: list[str] = field(default_factory=list)

    def read(self, line: str) -> None:
        """Take one line of DVC or of the stage."""
        self.lines.append(line)
        for pattern, outcome in DVC_SAYS:
            if self.outcome is None and pattern.match(line):
                self.outcome = outcome
                if outcome is Outcome.RAN:
                    self.watcher.started(self.stage)
        if line.startswith(prefix := f"{self.stage}: "):
            self.said = line.removeprefix(prefix)
            self.watcher.said(self.stage, self.said)

    def failure(self) -> str:
        """The stage's last message with its further lines, or DVC's reason where it said none."""
        ours, theirs = self.lines, []
        for i, line in enumerate(self.lines):
            if DVC_GIVES_UP.match(line):
                ours, theirs = self.lines[:i], self.lines[i:]
                break
        if self.outcome is not Outcome.RAN:
            return "\n".join(theirs or ours[-1:]).strip().removeprefix("ERROR: ") or "dvc was ended"
        status = next((int(m[1]) for m in map(EXIT_STATUS.search, theirs) if m), None)
        if theirs and status is None:
            return "\n".join(theirs).strip().removeprefix("ERROR: ")
        if status is None or status < 0 or status > 128:
            return f"was ended by a signal ({status or 'DVC with it'}); the same command goes on"
        starts = [i for i, line in enumerate(ours) if line.startswith(f"{self.stage}: ")]
        words = ours[starts[-1] :] if starts else []
        if words and "Traceback (most recent call last):" not in words:
            return "\n".join(words).rstrip().removeprefix(f"{self.stage}: ")
        echo = next((i for i, line in enumerate(ours) if line.startswith("> ")), -1)  # DVC's
        crash = next((line for line in reversed(ours[echo + 1 :]) if line.strip()), SILENT)
        return f"crashed: {crash.strip()}\n  all it said: {(LOGS / self.stage).as_posix()}.log"


def run_stage(
    stage: str, root: Path, watcher: Watcher, env: Mapping[str, str] | None = None
) -> Result:
    """Bring one stage up to date (what it needs must be) and say what became of it."""
    reader, started = Reader(stage, watcher), time.monotonic()
    keep_lock(root)
    code = run_dvc(["--wait-for-lock", "repro", "--single-item", stage], root, reader.read, env)
    seconds = time.monotonic() - started
    if reader.outcome is not Outcome.UNCHANGED:
        write_text(root / LOGS / f"{stage}.log", "\n".join(reader.lines) + "\n")
    if code or reader.outcome is None:
        return Result(stage, Outcome.FAILED, seconds, reader.failure())
    return Result(stage, reader.outcome, seconds, reader.said)
