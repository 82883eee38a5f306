"""The log of a registered name: one MLflow run an event, each chained to the one before.

An event is kept as parameters, which MLflow never overwrites (tags it does). Its digest covers all
of them, the digest of the event before included, and the registered model names the newest: an
event that was changed, deleted or is missing is found by reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from minigpt.registry.promotion.audit_event import (
    Event,
    Kind,
    breaks,
    digest_of,
    event_from,
    fields_of,
    joined,
    pieces,
)
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.tracking.entities import ViewType
from minigpt.tracking.experiment import prepare, tags
from minigpt.tracking.mlflow_tracker import create_run, end_abandoned
from minigpt.tracking.origin import origin, user
from minigpt.tracking.paging import every_page
from minigpt.tracking.store import Store, artifacts_of, database_of
from minigpt.tracking.store_errors import clear_errors, mlflow_errors

LOG = "minigpt-log"  # the experiment
HEAD = "minigpt.log_head"  # tag of the registered model: digest of its newest event

ABOUT = "One run a promotion, refusal, rollback …; to read and check it: `minigpt registry log`."

__all__ = ["AuditLog", "Event", "Kind", "read_all", "takedowns"]


class AuditLog:
    """The log of a name, read once, for whoever holds `only_changer` of it and adds to it."""

    def __init__(self, registry: Registry, name: str) -> None:
        """Raises RegistryError where the store cannot be read."""
        self._registry, self._name = registry, name
        self.events, self.problems = read_all(registry, name)

    def append(
        self,
        kind: Kind,
        *,
        version: Version | None,
        before: str | None = None,
        forced: bool = False,
        reason: str | None = None,
        conditions: Sequence[Condition] = (),
        documents: Sequence[str] = (),
        files: Sequence[str] = (),
    ) -> Event:
        """Write an event behind the newest one.

        Raises:
            RegistryError: the store does not take it; the log is as it was.
        """
        newest = self.events[-1] if self.events else None
        event = Event(
            number=newest.number + 1 if newest else 1,
            name=self._name,
            kind=kind,
            version=version.version if version else None,
            manifest=version.digest if version else "",
            before=before,
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            by=user(),
            forced=forced,
            reason=reason or None,
            conditions=tuple(conditions),
            previous=newest.digest if newest else "",
            documents=tuple(documents),
            files=tuple(files),
        )
        fields = fields_of(event)
        digest = digest_of(fields)
        with clear_errors(self._registry.store.uri):
            from mlflow.entities import Param

            client, title = self._registry.store.client, f"{kind}: {self._name}"
            name = f"{event.number} {title} {event.version or '-'}"
            run_id = create_run(self._runs, name, origin(self._registry.root))
            # One call is one transaction: a kill leaves a run without parameters: no event.
            params = [Param(key, text) for key, text in pieces(fields | {"digest": digest}).items()]
            client.log_batch(run_id, params=params)
            client.set_terminated(run_id)
            client.set_registered_model_tag(self._name, HEAD, digest)
        event = replace(event, digest=digest, run_id=run_id)
        self.events.append(event)
        return event

    @cached_property
    def _runs(self) -> Store:
        """The store at the log's experiment; what killed processes left open there is ended."""
        log = replace(self._registry.store, experiment_id=_experiment(self._registry))
        prepare(log, ABOUT)
        end_abandoned(log)
        return log


def read_all(registry: Registry, name: str) -> tuple[list[Event], list[str]]:
    """The events that can be read, oldest first, and what is wrong with the log.

    A store that has no log yet has no events.

    Raises:
        RegistryError: the store cannot be read.
    """
    events, problems = [], []
    for run in _runs(registry, f"params.name = '{name}'"):
        event, wrong = _event(run)
        if event is None:
            problems.append(f"run {run.info.run_id} is no event that can be read ({wrong})")
            continue
        if wrong:
            problems.append(f"event {event.number} {wrong} (run {event.run_id})")
        if run.info.lifecycle_stage != "active":
            problems.append(
                f"event {event.number} was deleted (mlflow runs restore --run-id {event.run_id})"
            )
        events.append(event)
    events.sort(key=lambda event: event.number)
    return events, [*problems, *breaks(events, _head(registry, name))]


def takedowns(registry: Registry) -> tuple[list[Event], list[str]]:
    """Every takedown of the store, of whatever name, also of one that is gone; what is wrong there.

    One that was written into may hide what it named.

    Raises:
        RegistryError: the store cannot be read.
    """
    events, problems = [], []
    for run in _runs(registry, "params.kind = 'taken down'"):
        event, wrong = _event(run)
        if event:
            events.append(event)
        if event and wrong:
            problems.append(f"a takedown of {event.name} {wrong} (run {event.run_id})")
        elif wrong:
            problems.append(f"a takedown in run {run.info.run_id} cannot be read ({wrong})")
    return events, problems


def _event(run: Any) -> tuple[Event | None, str]:
    """The event that a run holds, if it can be read, and what is wrong with it."""
    fields = joined(run.data.params)
    try:
        event = event_from(fields, run.info.run_id)
    except (KeyError, ValueError, TypeError) as error:
        return None, repr(error)
    return event, "" if digest_of(fields) == event.digest else "was changed"


def _head(registry: Registry, name: str) -> str | None:
    with clear_errors(registry.store.uri):
        try:
            tags = registry.store.client.get_registered_model(name).tags
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return dict(tags).get(HEAD)


def _runs(registry: Registry, which: str) -> Iterator[Any]:
    """Every run that says it is such an event; deleted ones too."""
    with clear_errors(registry.store.uri):
        experiment = registry.store.client.get_experiment_by_name(LOG)
        if experiment is None:
            return
        yield from every_page(
            registry.store.client.search_runs,
            [experiment.experiment_id],
            which,
            run_view_type=ViewType.ALL,
            order_by=["attributes.start_time ASC"],  # an event that is added meanwhile moves none
        )


def _experiment(registry: Registry) -> str:
    """The id of the log's experiment; the first event of any name makes it."""
    experiment = registry.store.client.get_experiment_by_name(LOG)
    if experiment is None:
        database = database_of(registry.store.uri)
        place = artifacts_of(database).with_name(LOG).as_uri() if database else None
        try:
            return str(registry.store.client.create_experiment(LOG, place, tags(ABOUT)))
        except mlflow_errors() as error:  # the first event of another name was quicker
            experiment = registry.store.client.get_experiment_by_name(LOG)
            if error.error_code != "RESOURCE_ALREADY_EXISTS" or experiment is None:
                raise
    return str(experiment.experiment_id)
