"""What a stage may record, whoever keeps it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

Status = Literal["FINISHED", "FAILED", "KILLED"]


class Tracker(Protocol):
    """One run. Recording never changes a byte of an output, and never fails a stage."""

    @property
    def run_id(self) -> str | None:
        """The run's id where it is kept; None where it is not."""

    def params(self, values: Mapping[str, Any]) -> None:
        """Record nested parameters, once."""

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers at a training step, or a result (no step)."""

    def dataset(self, name: str, path: Path, digest: str, context: str) -> None:
        """Record that data was read: place, digest and purpose (`train`, `validation` …)."""

    def artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a copy of a file or a folder."""

    def tag(self, key: str, value: str) -> None:
        """Set a word a run is found by."""

    def close(self, status: Status = "FINISHED") -> None:
        """Write what is pending and end the run."""


class NullTracker:
    """Keeps nothing (`MINIGPT_TRACKER=none`)."""

    run_id: str | None = None

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


MACHINE = "machine"
"""Key of the platform fingerprint in a metrics file; a run has it in its tags."""


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What of nested metrics can be drawn: numbers under dotted names, without the machine's."""
    measured = {key: value for key, value in values.items() if key != MACHINE}
    return {
        key: float(value)
        for key, value in flatten(measured).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings as one level: {"a": {"b": 1}} becomes {"a.b": 1}. Lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{k}": v for k, v in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat
