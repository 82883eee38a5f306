"""The sink that keeps runs in MLflow."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from minigpt.errors import RegistryError
from minigpt.tracking.address import shown, tracking_uri
from minigpt.tracking.experiment import prepare
from minigpt.tracking.journal import journals
from minigpt.tracking.mlflow_events import write_datasets, write_events
from minigpt.tracking.mlflow_tracker import (
    JOURNAL,
    OWNER,
    PARENT,
    STAGE,
    end_abandoned,
    is_active,
    newest_run,
)
from minigpt.tracking.sink import GoneError, RefusedError
from minigpt.tracking.store import Store, open_store
from minigpt.tracking.store_errors import clear_errors
from minigpt.tracking.tracker import Event


class MlflowSink:
    """A `Sink` for the store of a checkout. A run is found again by the id of its journal."""

    name = "mlflow"

    def __init__(self, root: Path, folder: Path) -> None:
        """`folder` holds the journals."""
        self._root, self._folder = root, folder
        self._store: Store | None = None

    def place(self) -> str:
        """Which store it is."""
        return shown(tracking_uri(self._root))

    def begin(self, journal: str, event: Event) -> str:
        """The run of a journal, begun if it is not there; under its parent's, if that is there."""
        with self._opened() as store:
            prepare(store)
            if there := self._run_of(store, journal):
                return there
            parent = event["parent"] and self._run_of(store, event["parent"])
            tags = {
                **event["tags"],
                JOURNAL: journal,
                **{f"{OWNER}{key}": value for key, value in event["owner"].items()},
                **({STAGE: event["stage"]} if event["stage"] else {}),
                **({PARENT: parent} if parent else {}),
            }
            run = store.client.create_run(
                store.experiment_id, start_time=event["time"], tags=tags, run_name=event["name"]
            )
            return str(run.info.run_id)

    def write(self, run: str, events: Sequence[Event]) -> None:
        """Write what came after the beginning. What a stage read, its parent has read too."""
        datasets = [event for event in events if event["event"] == "dataset"]
        try:
            with self._opened() as store:
                for event in (event for event in events if event["event"] == "link"):
                    self._link(store, run, event)
                write_events(store.client.mlflow, run, events, self._folder)
                parent = datasets and store.client.get_run(run).data.tags.get(PARENT)
                if parent and is_active(store, parent):
                    write_datasets(store.client.mlflow, parent, datasets)
        except RegistryError as error:
            code = getattr(error.__cause__, "error_code", None)
            if code == "RESOURCE_DOES_NOT_EXIST":
                raise GoneError(str(error)) from error
            if code == "INVALID_PARAMETER_VALUE":
                with self._opened() as store:  # with an experiment, its runs are deleted
                    prepare(store)
                raise RefusedError(str(error)) from error
            raise

    def _link(self, store: Store, run: str, event: Event) -> None:
        """Name the run that made a stage's outputs, and what that one read."""
        maker = newest_run(store, event["stage"], event["output_digest"])
        if maker is None:
            return
        store.client.set_tag(run, f"minigpt.run.{event['stage']}", maker.info.run_id)
        if inputs := store.client.mlflow.get_run(maker.info.run_id).inputs:
            store.client.log_inputs(run, inputs.dataset_inputs)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Store]:
        """The store; opened anew after a failure."""
        try:
            if self._store is None:
                self._store = open_store(self._root)
                with clear_errors(self._store.uri):
                    waiting = {path.stem for path in journals(self._folder)}
                    end_abandoned(self._store, waiting)
            with clear_errors(self._store.uri):
                yield self._store
        except RegistryError:
            self._store = None
            raise

    def _run_of(self, store: Store, journal: str) -> str | None:
        """The run of a journal; of two, which a request that timed out can leave, one goes."""
        runs = store.client.search_runs(
            [store.experiment_id], f"tags.`{JOURNAL}` = '{journal}'", max_results=10
        )
        ids: list[str] = sorted(run.info.run_id for run in runs)
        for double in ids[1:]:
            store.client.delete_run(double)
        return ids[0] if ids else None
