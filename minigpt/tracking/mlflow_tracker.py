"""Runs in MLflow: found by what they made, begun, and ended where their process died."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.tracking.mlflow_events import write_events
from minigpt.tracking.origin import BETWEEN
from minigpt.tracking.owner import has_died, this_process
from minigpt.tracking.paging import every_page
from minigpt.tracking.store import Store
from minigpt.tracking.store_errors import clear_errors
from minigpt.tracking.tracker import Recorder, milliseconds

if TYPE_CHECKING:
    from mlflow.entities import Run

STAGE = "minigpt.stage"
OUTPUT_DIGEST = "minigpt.output_digest"
PARENT = "mlflow.parentRunId"
JOURNAL = "minigpt.journal"  # tag: the journal that a run was delivered from
OWNER = "minigpt.process."  # tags: the process that a run belongs to


def newest_run(
    store: Store, stage: str, output_digest: str, until: datetime | None = None
) -> "Run | None":
    """The newest finished run of `stage` that made these outputs; begun by `until`, if given.

    Raises:
        RegistryError: the store cannot be read.
    """
    began = f" and attributes.start_time <= {int(until.timestamp() * 1000)}" if until else ""
    with clear_errors(store.uri):
        runs = store.client.search_runs(
            [store.experiment_id],
            f"tags.`{STAGE}` = '{stage}' and tags.`{OUTPUT_DIGEST}` = '{output_digest}' "
            f"and attributes.status = 'FINISHED'{began}",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    return runs[0] if runs else None


def create_run(store: Store, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
    """Begin a run in an open store; with `parent`, under that one. Returns its id."""
    owner = {f"{OWNER}{key}": value for key, value in this_process().items()}
    tags = dict(tags) | owner | ({PARENT: parent} if parent else {})
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=name)
    return str(run.info.run_id)


def is_active(store: Store, run_id: str) -> bool:
    """Whether a run can be written to: nobody deleted it."""
    return bool(store.client.get_run(run_id).info.lifecycle_stage == "active")


def name_version(store: Store, run_ids: Iterable[str], model: str, version: str) -> None:
    """Put a version's number behind the names of the runs that made it, once.

    Names that a person gave stay.
    """
    for run_id in run_ids:
        info = store.client.get_run(run_id).info
        if info.lifecycle_stage == "active" and info.run_name.endswith(f"{BETWEEN}{model}"):
            store.client.update_run(run_id, name=f"{info.run_name} {version}")


def end_abandoned(store: Store, waiting: Collection[str] = ()) -> None:
    """End as KILLED the runs whose process is gone: SIGKILL leaves a run open for ever.

    `waiting`: ids of the journals that have yet to be delivered; they say how their runs ended.
    """
    running = every_page(
        store.client.search_runs, [store.experiment_id], "attributes.status = 'RUNNING'"
    )
    for run in list(running):  # whoever is ended is gone from the pages that follow
        tags = run.data.tags
        owner = {k.removeprefix(OWNER): v for k, v in tags.items() if k.startswith(OWNER)}
        if tags.get(JOURNAL) not in waiting and has_died(owner):
            store.client.set_terminated(run.info.run_id, "KILLED")


class MlflowTracker(Recorder):
    """A `Tracker` that writes to MLflow at once, for runs that are more than a record.

    Every method raises RegistryError where the store refuses.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self.run_id = run_id
        self._store = store

    def record(self, kind: str, **facts: Any) -> None:
        """Write one event."""
        event = {"event": kind, "time": milliseconds(), **facts}
        with clear_errors(self._store.uri):
            write_events(self._store.client.mlflow, self.run_id, [event], Path())
