"""Carries a store's journals to sinks: in order, at least once; a second time changes nothing.

What is acknowledged is noted beside the journal after each batch, so a kill between any two steps
makes the next delivery repeat a batch and lose none. One process at a time delivers to a store.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from minigpt.errors import RegistryError
from minigpt.files import ABANDONED_SECONDS
from minigpt.log import say
from minigpt.process import take_lock
from minigpt.tracking.address import OWN, of_store, store_name
from minigpt.tracking.journal import (
    RUNS,
    SINKS,
    SUFFIX,
    Line,
    beginning,
    checkout_of,
    end_killed,
    has_ended,
    journals,
    read,
    store_of,
)
from minigpt.tracking.owner import has_died, is_of_this_machine
from minigpt.tracking.sink import GoneError, RefusedError, Sink

BATCH = 500  # events
LOCK, COURIER = "delivery.lock", "courier.lock"
TROUBLE = "trouble.txt"
"""Why the last round of a courier failed: it has no terminal to say it on."""
DAMAGED = ".damaged"
NOTES = {".files", *(f".{sink}" for sink in SINKS)}
"""What lies beside a journal, by suffix."""
LOCK_SECONDS = 60.0
QUIET_SECONDS = 900.0
"""As long a stage on another machine (a container) may have nothing to record."""


@dataclass(frozen=True)
class Progress:
    """How far a journal was delivered to one sink."""

    place: str
    run: str
    offset: int
    done: bool = False
    """Its end was delivered too."""


class Delivery:
    """The journals of one folder that name one store, and the sinks that they go to."""

    def __init__(
        self,
        folder: Path,
        sinks: Sequence[Sink],
        on_progress: Callable[[], None] = lambda: None,
        store: str = OWN,
        *,
        only_complete: bool = False,
    ) -> None:
        """`on_progress` is called after each batch that a sink acknowledged.

        `only_complete`: leave journals that somebody may still be writing.
        """
        self._folder, self._sinks, self._on_progress = folder, sinks, on_progress
        self._store, self._only_complete = store, only_complete
        self._seen: dict[Path, int] = {}

    def round(self, wait_s: float = LOCK_SECONDS) -> None:
        """Deliver everything that was written so far; journals that are complete go.

        Raises:
            RegistryError: a sink cannot take it now, or another process has been delivering for
                `wait_s` seconds.
        """
        if not journals(self._folder, self._store):
            return
        with only_deliverer(self._folder, wait_s, self._store):
            for path in journals(self._folder, self._store):
                if not self._only_complete or has_ended(path) or is_orphan(path):
                    self._deliver(path)
            for note in self._folder.glob("*.*"):  # of journals whose removal was cut off
                left = (note.with_suffix(suffix).exists() for suffix in (SUFFIX, DAMAGED))
                if note.suffix in NOTES and not any(left):
                    discard(note)
            (self._folder / of_store(TROUBLE, self._store)).unlink(missing_ok=True)

    def anything_new(self) -> bool:
        """Whether a round would find something to do."""
        for path in journals(self._folder, self._store):
            with contextlib.suppress(FileNotFoundError):  # another process delivered it
                if self._seen.get(path) != path.stat().st_size or is_orphan(path):
                    return True
        return False

    def _deliver(self, path: Path) -> None:
        if (began := beginning(path)) is None:
            set_aside(path)
            return
        if is_orphan(path):
            end_killed(path)
        size, wanted = path.stat().st_size, set(began.event["sinks"])
        for sink in self._sinks:
            if sink.name in wanted and self._deliver_to(sink, path, began):
                wanted.remove(sink.name)
        self._seen[path] = size
        if not wanted:
            remove(path)

    def _deliver_to(self, sink: Sink, path: Path, began: Line) -> bool:
        """Deliver the rest of a journal. Whether it is complete, and all of it delivered."""
        note, place = path.with_suffix(f".{sink.name}"), sink.place()
        progress = read_progress(note)
        if progress is None or progress.place != place:
            progress = Progress(place, sink.begin(path.stem, began.event), began.end)
            self._acknowledge(note, progress)
        lines = [] if progress.done else read(path, progress.offset)
        for start in range(0, len(lines), BATCH):
            batch = lines[start : start + BATCH]
            try:
                sink.write(progress.run, [line.event for line in batch])
            except RefusedError as error:
                say(f"the record of run {progress.run} has a gap: {error}")
            except GoneError:
                note.unlink()  # from the beginning, next time
                raise
            done = batch[-1].event["event"] == "close"
            progress = Progress(place, progress.run, batch[-1].end, done)
            self._acknowledge(note, progress)
        return progress.done

    def _acknowledge(self, note: Path, progress: Progress) -> None:
        part = note.with_name(f"{note.name}.part")
        part.write_text(json.dumps(asdict(progress)))
        part.replace(note)
        self._on_progress()


def sinks_of(folder: Path) -> list[Sink]:
    """Every sink there is, for the checkout whose journals `folder` holds."""
    from minigpt.tracking.mlflow_sink import MlflowSink

    return [MlflowSink(checkout_of(folder), folder)]


def deliver_all(root: Path, *, of_others: bool = False) -> None:
    """Deliver what waits in the checkout `root` for the store that the environment names.

    `of_others`: that store gets also what is complete and waits for others without a courier.

    Raises:
        RegistryError: a sink cannot take it now. Nothing is lost.
    """
    folder, own = root.resolve() / RUNS, store_name(root)
    if journals(folder, own):
        Delivery(folder, sinks_of(folder), store=own).round()
    for store, (events, runs) in waiting_for_others(folder, own).items() if of_others else ():
        if not courier_at_work(folder, store):
            say(f"{events} events of {runs} runs that waited for {store} go to this store instead")
            Delivery(folder, sinks_of(folder), store=store, only_complete=True).round()


def waiting_for_others(folder: Path, own: str) -> dict[str, tuple[int, int]]:
    """Store → events and runs that wait, for those that are not `own`."""
    stores = {store_of(path) for path in journals(folder)} - {own}
    counts = {store: waiting(folder, store) for store in sorted(stores)}
    return {store: count for store, count in counts.items() if count != (0, 0)}


def courier_at_work(folder: Path, store: str) -> bool:
    """Whether a process delivers from `folder` to a store."""
    if (lock := take_lock(folder / of_store(COURIER, store))) is None:
        return True
    os.close(lock)
    return False


def all_delivered(root: Path) -> bool:
    """Whether no journal holds what the store has yet to get, and none has to be ended."""
    folder, store = root.resolve() / RUNS, store_name(root)
    return waiting(folder, store) == (0, 0) and not any(
        beginning(path) is None or is_orphan(path) for path in journals(folder, store)
    )


def run_in_mlflow(root: Path, journal: str) -> str | None:
    """The id of the MLflow run that a journal which is still there was delivered to."""
    progress = read_progress(root.resolve() / RUNS / f"{journal}.mlflow")
    return progress.run if progress else None


def waiting(folder: Path, store: str | None = None) -> tuple[int, int]:
    """How many events of how many runs have yet to be delivered; with `store`, to that one."""
    counts = []
    for path in journals(folder, store):
        with contextlib.suppress(FileNotFoundError):  # another process delivered it
            began = beginning(path)
            names = began.event["sinks"] if began else SINKS
            notes = [read_progress(path.with_suffix(f".{name}")) for name in names]
            counts.append(len(read(path, min(note.offset if note else 0 for note in notes))))
    counts = [count for count in counts if count]
    return sum(counts), len(counts)


def read_progress(note: Path) -> Progress | None:
    """What was noted; None where nothing was delivered yet, or the note is damaged."""
    try:
        progress = _progress_adapter().validate_json(note.read_bytes())
        return progress if 0 < progress.offset <= note.with_suffix(SUFFIX).stat().st_size else None
    except (OSError, ValueError):
        return None


@cache
def _progress_adapter() -> TypeAdapter[Progress]:
    return TypeAdapter(Progress)


def is_orphan(path: Path) -> bool:
    """Whether a journal has no end, and its process is gone.

    Of another machine's (a container's, before it got another name) long silence tells so.
    """
    if has_ended(path) or (began := beginning(path)) is None:
        return False
    if is_of_this_machine(began.event["owner"]):
        return has_died(began.event["owner"])
    return seconds_silent(path) > ABANDONED_SECONDS


def is_at_work(path: Path) -> bool:
    """Whether a process is still writing a journal, as far as can be told of another machine's."""
    if has_ended(path) or (began := beginning(path)) is None:
        return False
    if is_of_this_machine(began.event["owner"]):
        return not has_died(began.event["owner"])
    return seconds_silent(path) < QUIET_SECONDS


def seconds_silent(path: Path) -> float:
    """How long ago a journal was written to."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # it was delivered
        return 0.0


def set_aside(path: Path) -> None:
    """Rename a journal whose beginning is damaged: nobody can tell which run it is of."""
    aside = path.with_suffix(DAMAGED)
    try:
        path.replace(aside)
    except FileNotFoundError:  # not damaged: gone
        return
    say(f"{path}: its first line cannot be read, so its run is lost; what is left: {aside.name}")


def remove(path: Path) -> None:
    """Remove a journal that was delivered; itself first: what is left of it is no journal."""
    path.unlink()
    for suffix in NOTES:
        discard(path.with_suffix(suffix))


def discard(note: Path) -> None:
    """Remove what lay beside a journal."""
    if note.is_dir():
        shutil.rmtree(note, ignore_errors=True)
    else:
        note.unlink(missing_ok=True)


@contextlib.contextmanager
def only_deliverer(folder: Path, wait_s: float, store: str = OWN) -> Iterator[None]:
    """Hold the lock of a folder's delivery to a store.

    Raises:
        RegistryError: another process has held it for `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    while (lock := take_lock(folder / of_store(LOCK, store), "a delivery")) is None:
        if time.monotonic() > deadline:
            raise RegistryError(
                f"{folder}: another process has been delivering for {wait_s:.0f} s; try again"
            )
        time.sleep(0.1)
    try:
        yield
    finally:
        os.close(lock)
