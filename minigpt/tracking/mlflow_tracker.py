"""Runs in MLflow: one parent a pipeline run, one child a stage."""

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from minigpt.errors import RegistryError
from minigpt.log import say
from minigpt.tracking.owner import has_died, this_process
from minigpt.tracking.paging import every_page
from minigpt.tracking.store import Store, clear_errors, open_store
from minigpt.tracking.tracker import Status, flatten

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

PARENT_ENV = "MINIGPT_PARENT_RUN"  # carries the parent's id from the flow to a stage

STAGE = "minigpt.stage"
OUTPUT_DIGEST = "minigpt.output_digest"
OWNER = "minigpt.process."  # tags: the process that a run belongs to

FLUSH_POINTS = 500
FLUSH_SECONDS = 5.0
RETRY_SECONDS = 60.0
SYSTEM_SECONDS = 5.0
PARAM_LENGTH = 500  # a column of the UI; the whole value is in params.yaml beside it


def open_parent(root: Path, name: str, tags: Mapping[str, str] | None = None) -> str:
    """Begin the run of a whole pipeline; give its id to stages as MINIGPT_PARENT_RUN.

    Runs that a killed process of this machine left open are ended first.

    Raises:
        RegistryError: the store cannot be opened.
    """
    store = open_store(root)
    with clear_errors(store.uri):
        end_abandoned(store)
        return create_run(store, name, tags or {})


def close_parent(root: Path, run_id: str, status: Status = "FINISHED") -> None:
    """End the run of a whole pipeline.

    Raises:
        RegistryError: the store cannot be opened.
    """
    store = open_store(root)
    with clear_errors(store.uri):
        store.client.set_terminated(run_id, status)


def open_child(root: Path, stage: str, parent: str | None = None) -> "MlflowTracker":
    """Begin the run of a stage, under `parent`, else under MINIGPT_PARENT_RUN, else by itself.

    Raises:
        RegistryError: the store cannot be opened.
    """
    store = open_store(root)
    parent = parent or os.environ.get(PARENT_ENV)
    with clear_errors(store.uri):
        return MlflowTracker(store, create_run(store, stage, {STAGE: stage}, parent))


def find_run(root: Path, stage: str, output_digest: str) -> str | None:
    """The newest finished run of `stage` that made these outputs.

    Raises:
        RegistryError: the store cannot be opened.
    """
    run = newest_run(open_store(root), stage, output_digest)
    return str(run.info.run_id) if run else None


def newest_run(
    store: Store, stage: str, output_digest: str, until: datetime | None = None
) -> "Run | None":
    """As `find_run`, in an open store; `until`: of those that had begun by then.

    Raises:
        RegistryError: the store cannot be read.
    """
    began = f" and attributes.start_time <= {int(until.timestamp() * 1000)}" if until else ""
    with clear_errors(store.uri):
        found = store.client.search_runs(
            [store.experiment_id],
            f"tags.`{STAGE}` = '{stage}' and tags.`{OUTPUT_DIGEST}` = '{output_digest}' "
            f"and attributes.status = 'FINISHED'{began}",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    return found[0] if found else None


def link_run(root: Path, parent: str, stage: str, output_digest: str) -> str | None:
    """Note on the parent run which earlier run made a stage's restored or unchanged outputs.

    Raises:
        RegistryError: the store cannot be opened.
    """
    store = open_store(root)
    run = newest_run(store, stage, output_digest)
    if run is None:
        return None
    run_id = str(run.info.run_id)
    with clear_errors(store.uri):
        store.client.set_tag(parent, f"minigpt.run.{stage}", run_id)
    return run_id


def create_run(store: Store, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
    """Begin a run in an open store; with `parent`, under that one. Returns its id."""
    owner = {f"{OWNER}{key}": value for key, value in this_process().items()}
    tags = dict(tags) | owner | ({"mlflow.parentRunId": parent} if parent else {})
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=name)
    return str(run.info.run_id)


def end_abandoned(store: Store) -> None:
    """End as KILLED the runs whose process is gone: SIGKILL leaves a run open for ever."""
    running = every_page(
        store.client.search_runs, [store.experiment_id], "attributes.status = 'RUNNING'"
    )
    for run in list(running):  # whoever is ended is gone from the pages that follow
        tags = {k.removeprefix(OWNER): v for k, v in run.data.tags.items() if k.startswith(OWNER)}
        if has_died(tags):
            store.client.set_terminated(run.info.run_id, "KILLED")


class MlflowTracker:
    """A `Tracker` for one MLflow run. What the store refuses is said once; the stage goes on.

    With `strict` a refusal is a RegistryError: for runs that are more than a record.
    """

    def __init__(self, store: Store, run_id: str, strict: bool = False) -> None:
        self.run_id: str | None = run_id
        self._strict = strict
        self._run = run_id
        self._store = store
        self._pending: list[Metric] = []
        self._next_flush = time.monotonic() + FLUSH_SECONDS
        self._monitor: SystemMetricsMonitor | None = None
        self._complained = False

    def params(self, values: Mapping[str, Any]) -> None:
        """Nested keys joined by dots, long values cut; all of it as params.yaml."""
        from mlflow.entities import Param

        flat = [Param(_allowed(key), _shortened(v)) for key, v in flatten(values).items()]
        with self._unharmed():
            for start in range(0, len(flat), 100):  # MLflow's limit a call
                self._store.client.log_batch(self._run, params=flat[start : start + 100])
            text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
            self._store.client.log_text(self._run, text, "params.yaml")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Kept back and sent in batches. A step past 0 starts the record of the machine's load."""
        from mlflow.entities import Metric

        if step and self._monitor is None:
            self._watch_machine()
        now = int(time.time() * 1000)
        self._pending += [Metric(_allowed(k), float(v), now, step or 0) for k, v in values.items()]
        if len(self._pending) >= FLUSH_POINTS or time.monotonic() >= self._next_flush:
            self._flush()

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        """As an MLflow dataset; its digest column holds 36 characters, the tag all of them."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        source = json.dumps({"uri": path.as_posix()})
        data = Dataset(name=name, digest=digest[:36], source_type="local", source=source)
        tags = [InputTag("mlflow.data.context", context), InputTag("minigpt.digest", digest)]
        with self._unharmed():
            self._store.client.log_inputs(self._run, [DatasetInput(data, tags)])

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """A folder goes in with its contents, under `folder`."""
        with self._unharmed():
            if path.is_dir():
                self._store.client.log_artifacts(self._run, str(path), folder)
            else:
                self._store.client.log_artifact(self._run, str(path), folder)

    def tag(self, key: str, value: str) -> None:
        """Set or replace a tag."""
        with self._unharmed():
            self._store.client.set_tag(self._run, key, value)

    def close(self, status: Status = "FINISHED") -> None:
        """Send what is pending, end the record of the machine's load, end the run."""
        if self._monitor is not None:
            self._monitor.finish()
        self._flush()
        with self._unharmed():
            self._store.client.set_terminated(self._run, status)

    def _flush(self) -> None:
        while self._pending:
            with self._unharmed() as outcome:
                self._store.client.log_batch(self._run, metrics=self._pending[:1000])
            if outcome.failed:  # keep them: the store may come back
                self._next_flush = time.monotonic() + RETRY_SECONDS
                return
            del self._pending[:1000]
        self._next_flush = time.monotonic() + FLUSH_SECONDS

    def _watch_machine(self) -> None:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        self._monitor = SystemMetricsMonitor(
            self._run, sampling_interval=SYSTEM_SECONDS, tracking_uri=self._store.uri
        )
        self._monitor.start()

    @contextlib.contextmanager
    def _unharmed(self) -> "Iterator[_Outcome]":
        outcome = _Outcome()
        try:
            with clear_errors(self._store.uri):
                yield outcome
        except RegistryError as error:
            if self._strict:
                raise
            outcome.failed = True
            if not self._complained:
                say(f"the run's record has a gap: {error}")
            self._complained = True


class _Outcome:
    failed = False


def _allowed(name: str) -> str:
    """`name` with what MLflow does not take replaced: one bad name would fail its whole batch."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - 1] + "…"
