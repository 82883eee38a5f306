"""The journal of a run: what a stage records, one JSON line an event, in .work/runs.

A stage only appends; `delivery` carries the lines to whoever keeps runs, now or later. Which store
that is, the environment of the stage said, or that of its flow: the first line names it.
"""

import contextlib
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.errors import DataError
from minigpt.files import write_bytes
from minigpt.log import say
from minigpt.process import WORK
from minigpt.tracking.address import NONE, OWN, store_name
from minigpt.tracking.event import checked
from minigpt.tracking.origin import model_name, origin, run_name
from minigpt.tracking.owner import this_process
from minigpt.tracking.system_metrics import SystemMetrics
from minigpt.tracking.tracker import Event, Recorder, Status, milliseconds

RUNS = WORK / "runs"
SUFFIX = ".jsonl"
PARENT_ENV = "MINIGPT_PARENT_RUN"
"""Carries the path of the parent's journal from a flow to its stages, which write beside it."""
SINKS = ("mlflow",)


class Journal(Recorder):
    """A `Tracker` that appends to a file. What the disk refuses is said once; the stage goes on."""

    def __init__(
        self,
        folder: Path,
        name: str,
        stage: str | None = None,
        tags: Mapping[str, str] | None = None,
        parent: Path | None = None,
        sinks: Sequence[str] = SINKS,
        store: str = OWN,
    ) -> None:
        """Begin the run `name` for `store`; with `parent`, under that journal and for its store."""
        seconds, rest = divmod(time.time_ns(), 10**9)  # one look at the clock: ids sort by it
        began = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        self.id = f"{began}-{rest:09d}-{secrets.token_hex(4)}"
        self.path = folder / f"{self.id}{SUFFIX}"
        self._file: int | None = None
        self._one_writer = threading.RLock()
        self._complained = self._torn = False
        self._monitor: SystemMetrics | None = None
        self._step: int | None = None
        if parent is not None:
            with contextlib.suppress(OSError):
                store = store_of(parent)
        begin = {
            "event": "begin", "time": milliseconds(), "name": name, "stage": stage,
            "tags": dict(tags or {}), "parent": parent and parent.stem, "owner": this_process(),
            "sinks": list(sinks), "store": store,
        }  # fmt: skip
        with self._unharmed():
            write_bytes(self.path, _line(begin))  # whole: none is seen without a beginning
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)

    def record(self, kind: str, **facts: Any) -> None:
        """Append one event, in one write."""
        line = _line({"event": kind, "time": milliseconds(), **facts})
        with self._one_writer, self._unharmed():
            if self._file is None:
                return
            whole = b"\n" + line if self._torn else line
            self._torn = True
            self._torn = os.write(self._file, whole) != len(whole)  # a full disk may take half
            if self._torn:
                raise OSError("the disk is full")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers of a step; results, which have none, go to the last one that was recorded.

        A step past 0 starts the record of the machine's load.
        """
        if step and self._monitor is None:
            self._monitor = SystemMetrics(super().metrics)
        self._step = self._step if step is None else step
        super().metrics(values, self._step)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy beside the journal: the original may be gone when it is delivered."""
        with self._one_writer, self._unharmed():
            copies = files_of(self.path)
            copies.mkdir(exist_ok=True)
            copy = copies / f"{len(list(copies.iterdir())):04d}"
            if path.is_dir():
                shutil.copytree(path, copy)
            else:
                copy.mkdir()
                shutil.copy2(path, copy)
            self.record("artifact", path=f"{copies.name}/{copy.name}", folder=folder)

    def link(self, stage: str, output_digest: str) -> None:
        """Note which earlier run made a stage's restored or unchanged outputs."""
        self.record("link", stage=stage, output_digest=output_digest)

    def close(self, status: Status = "FINISHED") -> None:
        """End the record of the machine's load, then the run."""
        if self._monitor is not None:
            self._monitor.finish()
        super().close(status)
        with self._one_writer:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    @contextlib.contextmanager
    def _unharmed(self) -> Iterator[None]:
        try:
            yield
        except (OSError, DataError) as error:
            if not self._complained:
                why = error.__cause__ or error
                why = getattr(why, "strerror", None) or why
                say(f"the run's record has a gap: {self.path}: {why}")
            self._complained = True


def open_journal(
    root: Path, name: str, stage: str | None = None, tags: Mapping[str, str] | None = None
) -> Journal:
    """Begin a run of the checkout `root`, under the one that MINIGPT_PARENT_RUN names.

    Its name says what it is for, its tags where it comes from; `tags` may say it better.
    """
    name, tags = run_name(name, model_name(root)), origin(root) | dict(tags or {})
    if parent := os.environ.get(PARENT_ENV):
        return Journal(Path(parent).parent, name, stage, tags, Path(parent))
    return Journal(root.resolve() / RUNS, name, stage, tags, store=store_name(root))


@dataclass(frozen=True)
class Line:
    """An event, and where in the file the next one begins."""

    event: Event
    end: int


def read(path: Path, start: int = 0) -> list[Line]:
    """The whole lines from byte `start` on; a torn one is passed over once another follows it."""
    lines, end = [], start
    with path.open("rb") as file:
        file.seek(start)
        for raw in file:
            if not raw.endswith(b"\n"):
                break
            end += len(raw)
            with contextlib.suppress(ValueError):
                lines.append(Line(checked(json.loads(raw)), end))
    return lines


def beginning(path: Path) -> Line | None:
    """The first line of a journal; None where it is damaged, or the journal is gone.

    Raises:
        OSError: it may not be read.
    """
    with contextlib.suppress(ValueError, FileNotFoundError), path.open("rb") as file:
        raw = file.readline()
        event = checked(json.loads(raw))
        return Line(event, len(raw)) if event["event"] == "begin" else None
    return None


def has_ended(path: Path) -> bool:
    """Whether the last line of a journal is the end of its run, or the journal is gone."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 200))  # an end is shorter
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    except FileNotFoundError:
        return True
    with contextlib.suppress(ValueError):
        return bool(checked(json.loads(last))["event"] == "close")
    return False


def journals(folder: Path, store: str | None = None) -> list[Path]:
    """The journals of a folder, oldest first; with `store`, those that it is to get.

    The checkout's own gets also those of no store: their environment named none, or they are
    damaged.
    """
    paths = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    stores = (OWN, NONE) if store == OWN else (store,)
    return [path for path in paths if store is None or store_of(path) in stores]


def checkout_of(folder: Path) -> Path:
    """The checkout whose journals `folder` holds."""
    return folder.parents[len(RUNS.parts) - 1]


def store_of(path: Path) -> str:
    """Which store a journal is for, by its `store_name`.

    Raises:
        OSError: it may not be read.
    """
    began = beginning(path)
    return str(began.event["store"]) if began else NONE


def end_killed(path: Path) -> None:
    """Append the end of a run whose process died without one."""
    close = {"event": "close", "time": int(path.stat().st_mtime * 1000), "status": "KILLED"}
    with path.open("ab", buffering=0) as file:
        file.write(b"\n" + _line(close))  # the newline ends a line that the kill tore


def files_of(journal: Path) -> Path:
    """The folder that holds a journal's copies of artifacts."""
    return journal.with_suffix(".files")


def _line(event: Event) -> bytes:
    # NaN and Infinity are no JSON, but Python writes and reads them.
    return json.dumps(event, ensure_ascii=False, default=str).encode() + b"\n"
