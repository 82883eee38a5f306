"""A stage at work: its arguments, its params, its lock, its resumable state and its tracker."""

import contextlib
import inspect
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from minigpt import log
from minigpt.config import Config
from minigpt.errors import MiniGPTError
from minigpt.files import rounded, write_json
from minigpt.graph import read_graph
from minigpt.machine import Machine
from minigpt.process import WORK, leave, stage_lock
from minigpt.tracking import NullTracker, Status, Tracker, numbers, open_journal
from minigpt.tracking.courier import start_courier, trouble_of
from minigpt.tracking.environment import TAG, environment
from minigpt.tracking.journal import RUNS


class Run:
    """What a library function may ask of the stage it works for."""

    def __init__(
        self,
        stage: str,
        machine: Machine,
        workdir: Path,
        tracker: Tracker,
        inputs: tuple[Path, ...] = (),
    ) -> None:
        """`workdir` holds resumable state and exists; `tracker` is open."""
        self.stage, self.machine, self.workdir, self.tracker = stage, machine, workdir, tracker
        self.inputs = inputs
        """What other stages wrote and this one reads, as dvc.yaml says."""
        self.progress: Callable[[str], None] = log.every(seconds=1.0)
        """A throttled line for people."""
        self.say: Callable[[str], None] = log.say
        """A line for people; the last one of a stage is what its table row shows."""
        self._stopping: int | None = None
        self._patient = False

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record metrics of one step, names like `train/loss`."""
        self.tracker.metrics(metrics, step=step)

    def summary(
        self, results: Path, metrics: Path, measured: Mapping[str, Any], headlines: Sequence[str]
    ) -> None:
        """Write all that the stage measured (sorted, six significant digits), and its headlines.

        Those are what `dvc metrics` and `dvc exp show` have columns for, and MLflow the run.
        """
        write_json(results, rounded(dict(measured)))
        chosen = select(measured, headlines)
        write_json(metrics, rounded(chosen))
        self.tracker.metrics(numbers(chosen))

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        """Record which data the stage read."""
        self.tracker.dataset(name, path, digest, context)

    @property
    def stop_requested(self) -> bool:
        """True after SIGTERM or Ctrl-C; only a `stopping_by_itself` block lives to see it."""
        return self._stopping is not None

    @contextlib.contextmanager
    def stopping_by_itself(self) -> Iterator[None]:
        """In this block the first signal is left to a loop that asks, saves and calls `stop`.

        One that comes too late for the loop ends the process behind the block.
        """
        self._patient = True
        try:
            yield
        finally:
            self._patient = False
        if self.stop_requested:
            self.stop()

    def stop(self) -> NoReturn:
        """End the process as the signal asked, with the state saved."""
        raise SystemExit(128 + (self._stopping or signal.SIGTERM))

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Leave the first signal to a loop that asks; without one, and at the second, end now."""
        first, self._stopping = self._stopping is None, number
        if not (first and self._patient):
            raise SystemExit(128 + number)


def select(values: Mapping[str, Any], patterns: Sequence[str]) -> dict[str, Any]:
    """Of nested `values` what the patterns name, `base.*.bits_per_byte`; * stands for any key."""
    selected: dict[str, Any] = {}
    for key, value in values.items():
        heads = [pattern.partition(".") for pattern in patterns]
        tails = [tail for head, _, tail in heads if head in ("*", key)]
        if "" in tails:
            selected[key] = value
        elif isinstance(value, Mapping) and (inside := select(value, tails)):
            selected[key] = inside
    return selected


@contextlib.contextmanager
def open_run(stage: str, params: Config) -> Iterator[Run]:
    """Lock the stage, find its resumable state, open its tracked run; tidy up at the end.

    The resumable state in .work/<stage>/<key>/ outlives a failure or a kill and goes when the
    block ends well; another key (code, data, params or machine changed) never finds it.
    """
    root, machine = Path.cwd(), Machine.load()
    graph = read_graph(root)
    spec = graph[stage]
    made = {out for other in graph.values() for out in other.outs}
    key = spec.input_digest(root, params.model_dump(mode="json"), machine.fingerprint())
    with stage_lock(stage), contextlib.ExitStack() as stack:
        workdir = WORK / stage / key[:16]
        workdir.mkdir(parents=True, exist_ok=True)
        tracker = stack.enter_context(tracked(root, stage, machine))
        inputs = tuple(Path(dep) for dep in spec.deps if dep in made)
        run = Run(stage, machine, workdir, tracker, inputs)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, run.on_signal)
        tracker.tag("minigpt.input_digest", key)
        for name, value in machine.fingerprint().items():
            tracker.tag(f"minigpt.machine.{name}", str(value))
        tracker.tag(TAG, environment(root).model_dump_json())
        tracker.params(params.model_dump(mode="json"))
        yield run
        tracker.tag("minigpt.output_digest", spec.output_digest(root))
        shutil.rmtree(WORK / stage, ignore_errors=True)


@contextlib.contextmanager
def tracked(root: Path, stage: str, machine: Machine) -> Iterator[Tracker]:
    """The record of one stage; it neither fails the stage nor keeps it waiting."""
    if machine.tracker == "none":
        yield NullTracker()
        return
    journal = open_journal(root, stage, stage)
    start_courier(journal.path.parent)
    status: Status = "FAILED"
    try:
        yield journal
        status = "FINISHED"
    finally:
        journal.close(status)
        if trouble := trouble_of(journal.path.parent):
            log.say(f"its record waits in {RUNS.as_posix()}: {trouble}")


def stage_main(main: Callable[..., None]) -> NoReturn:
    """Call `main` with the command line's paths and end the process.

    Our errors become one line and an exit code.
    """
    stage, paths = Path(sys.argv[0]).stem, [Path(argument) for argument in sys.argv[1:]]
    log.set_name(stage)
    wanted = list(inspect.signature(main).parameters)
    if len(paths) != len(wanted):
        log.say(f"expected {len(wanted)} paths ({' '.join(wanted)}), got {len(paths)}")
        raise SystemExit(2)
    try:
        with log.refusals_told():
            main(*paths)
    except MiniGPTError as error:
        log.say(str(error))
        raise SystemExit(error.exit_code) from error
    leave()
