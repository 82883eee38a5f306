"""The figures of a build as one run shows them: what its metrics files state."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minigpt.tracking.tracker import numbers

METRICS, RESULTS = Path("metrics"), Path("results")


def read_figures(
    root: Path, outs: Iterable[str] | None = None, folder: Path = METRICS
) -> dict[str, Any]:
    """NAME.json of `folder` by name; with `outs`, those that are among these outputs."""
    paths = sorted((root / folder).glob("*.json"))
    if outs is not None:
        paths = [path for path in paths if path.relative_to(root).as_posix() in set(outs)]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Every number of them: `evaluate/finetuned/sotu/bits_per_byte`."""
    return {
        f"{name}/{key}": value
        for name, values in metrics.items()
        for key, value in numbers(values).items()
    }
