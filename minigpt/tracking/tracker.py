"""What a stage may record, whoever keeps it."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]
Event = dict[str, Any]
"""One thing that was recorded: `event` names its kind, `time` says when (ms since the epoch)."""


class Tracker(Protocol):
    """One run. Recording never changes a byte of an output, and never fails a stage."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Record nested parameters, once."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a training step, or a result (no step)."""

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        """Record that data was read: place, digest and purpose (`train`, `validation` …)."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file, or of what a folder holds, under `folder`."""

    def tag(self, key: str, value: str) -> None:
        """Set a word a run is found by."""

    def close(self, status: Status = "FINISHED") -> None:
        """Write what is pending and end the run."""


class NullTracker:
    """Keeps nothing (`MINIGPT_TRACKER=none`)."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Forget."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Forget."""

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        """Forget."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Forget."""

    def tag(self, key: str, value: str) -> None:
        """Forget."""

    def close(self, status: Status = "FINISHED") -> None:
        """Nothing is pending."""


class Recorder(ABC):
    """A `Tracker` that makes an event of every call."""

    @abstractmethod
    def record(self, kind: str, **facts: Any) -> None:
        """Keep one event."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Record nested parameters, once."""
        self.record("params", values=dict(values))

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a training step, or a result (no step)."""
        self.record("metrics", values={k: float(v) for k, v in values.items()}, step=step or 0)

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        """Record that data was read."""
        self.record("dataset", name=name, path=path.as_posix(), digest=digest, context=context)

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file, or of what a folder holds, under `folder`."""
        self.record("artifact", path=str(path), folder=folder)

    def tag(self, key: str, value: str) -> None:
        """Set or replace a tag."""
        self.record("tag", key=key, value=value)

    def close(self, status: Status = "FINISHED") -> None:
        """End the run."""
        self.record("close", status=status)


def milliseconds() -> int:
    """Now, as runs count it: since the epoch."""
    return time.time_ns() // 1_000_000


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of nested metrics can be drawn: numbers, named like a curve: `val/bits_per_byte`."""
    return {
        key: float(value)
        for key, value in flatten(values, "/").items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def flatten(values: Mapping[str, Any], between: str = ".") -> dict[str, Any]:
    """Nested mappings as one level: {"a": {"b": 1}} becomes {"a.b": 1}. Lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}{between}{k}": v for k, v in flatten(value, between).items()}
        else:
            flat[str(key)] = value
    return flat
