"""Whether a run would find nothing to do: no stage stale, what was built registered and judged.

Asked before Prefect or MLflow is imported: that alone takes longer than the answer.
"""

from dataclasses import dataclass
from pathlib import Path

from minigpt.graph import read_graph
from minigpt.registry.config import RegistryParams
from minigpt.registry.registry import Registry
from minigpt.registry.versions import CHALLENGER, CHAMPION, Version, list_versions
from minigpt.release.manifest import MANIFEST, manifest_digest
from minigpt.tracking.delivery import all_delivered
from pipelines.dag import anything_stale
from pipelines.lockfile import keep_lock

REPORT = Path("reports/index.html")
REFUSED = "challenger (refused as champion)"


@dataclass(frozen=True)
class Settled:
    """A project in which there is nothing to do."""

    stages: int
    standing: str
    """What is true of the version that holds what is built: `version 1 is champion`."""
    refusal: str | None = None
    """Why it is not champion."""


def settled(root: Path, params: RegistryParams) -> Settled | None:
    """What there is, where a run would change none of it; else None. The workspace is locked.

    A run would also render the report where it is gone, and deliver what no store has yet.

    Raises:
        ParamsError: dvc.yaml or dvc.lock cannot be read.
        RegistryError: the store cannot be read.
    """
    keep_lock(root)  # before anything reads it: a killed DVC may have left half
    built = (root / MANIFEST).is_file() and (root / REPORT).is_file()
    if not built or not all_delivered(root):
        return None
    registry = Registry(root, params.release.name)
    version = registered(registry)
    if version is None or anything_stale(root):
        return None
    stages, named = len(read_graph(root)), f"version {version.version}"
    if CHAMPION in version.aliases:
        return Settled(stages, f"{named} is champion")
    from minigpt.registry.promotion.promote import refused_again

    if refusal := refused_again(registry, version, params.gate):
        return Settled(stages, f"{named} is {REFUSED}", refusal)
    return None


def registered(registry: Registry) -> Version | None:
    """The version that a registration would find; None where it would have anything to do.

    `challenger` is given at its end, so where the version has it, all before was done.
    """
    identity = manifest_digest(registry.root / MANIFEST)
    version = next((v for v in list_versions(registry) if v.digest == identity), None)
    return version if version and CHALLENGER in version.aliases else None
