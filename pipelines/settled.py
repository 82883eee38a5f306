"""Whether a run would find nothing to do: no stage stale, what was built registered and champion.

Asked before Prefect or MLflow is imported: that alone takes longer than the answer.
"""

from dataclasses import dataclass
from pathlib import Path

from minigpt.graph import read_graph
from minigpt.registry.config import RegistryParams
from minigpt.registry.versions import CHALLENGER, CHAMPION, Version, list_versions
from minigpt.release.manifest import MANIFEST, manifest_digest
from pipelines.dag import anything_stale
from pipelines.lockfile import keep_lock

REPORT = Path("reports/index.html")


@dataclass(frozen=True)
class Settled:
    """A project in which there is nothing to do."""

    stages: int
    standing: str
    """What is true of the version that holds what is built: `version 1 is champion`."""


def settled(root: Path, params: RegistryParams) -> Settled | None:
    """What there is, where a run would change none of it; else None. The workspace is locked.

    A run would also render the report where it is gone, and deliver what no store has yet.

    Raises:
        ParamsError: dvc.yaml or dvc.lock cannot be read.
        RegistryError: the store cannot be read.
    """
    keep_lock(root)  # before anything reads it: a killed DVC may have left half
    if not ((root / MANIFEST).is_file() and (root / REPORT).is_file()):
        return None
    version = registered(root, params.release.name)
    if version is None or CHAMPION not in version.aliases:
        return None
    if anything_stale(root):
        return None
    return Settled(len(read_graph(root)), f"version {version.version} is champion")


def registered(root: Path, name: str) -> Version | None:
    """The version that a registration would find; None where it would have anything to do.

    `challenger` is given at its end, so where the version has it, all before was done.
    """
    identity = manifest_digest(root / MANIFEST)
    version = next((v for v in list_versions(root, name) if v.digest == identity), None)
    return version if version and CHALLENGER in version.aliases else None
