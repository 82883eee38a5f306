"""Which run made what a stage wrote, and which version that run was made for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from minigpt.dvc_lock import LOCK, hashes, stages_of
from minigpt.registry.artifacts import read_artifact
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version, list_everything
from minigpt.tracking.environment import TAG, Environment, from_tag
from minigpt.tracking.mlflow_tracker import newest_run

PARENT = "mlflow.parentRunId"


@dataclass(frozen=True)
class ProducingRun:
    """A run, and what it was run for."""

    run: str
    version: str | None
    """The earlier version that it was run for, `minigpt 1`; None: for the one asked about."""
    environment: Environment | None
    """The packages that it ran with; None where that was not recorded."""


class ProducingRuns:
    """Finds the makers of one version's outputs."""

    def __init__(
        self, registry: Registry, parent: str | None = None, version: Version | None = None
    ) -> None:
        """`parent` is the flow's run, while it registers; `version` the one that is registered."""
        self._registry, self._parent = registry, parent
        self._until = version.created if version else datetime.now(UTC)
        self._versions: list[Version] | None = None
        self._locks: dict[str, dict[str, Any]] = {}

    def of(
        self, stage: str, output_digest: str | None, outs: Mapping[str, str]
    ) -> ProducingRun | None:
        """The newest run that wrote these outputs (path -> md5); None where the store has none.

        Raises:
            RegistryError: the store cannot be read.
        """
        if output_digest is None:
            return None
        run = newest_run(self._registry.store, stage, output_digest, self._until)
        if run is None:
            return None
        packages = from_tag(run.data.tags.get(TAG))
        if self._parent is None or run.data.tags.get(PARENT) != self._parent:
            began = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
            for version in self._earlier(began):
                if hashes(self._lock(version).get(stage, {}).get("outs", [])) == outs:
                    name = f"{version.name} {version.version}"
                    return ProducingRun(run.info.run_id, name, packages)
        return ProducingRun(run.info.run_id, None, packages)

    def _earlier(self, since: datetime) -> Iterator[Version]:
        """Versions of any name that were registered after a run began, oldest first."""
        if self._versions is None:
            versions = chain.from_iterable(list_everything(self._registry).values())
            self._versions = sorted(versions, key=lambda version: version.created)
        return (v for v in self._versions if since <= v.created < self._until)

    def _lock(self, version: Version) -> dict[str, Any]:
        if version.run_id not in self._locks:
            self._locks[version.run_id] = stages_of(read_artifact(self._registry, version, LOCK))
        return self._locks[version.run_id]
