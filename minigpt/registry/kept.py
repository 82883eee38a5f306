"""Files among the artifacts of a version, under the paths they had in its checkout."""

from pathlib import Path
from tempfile import TemporaryDirectory

from minigpt.files import write_bytes
from minigpt.registry.versions import Version
from minigpt.tracking.store import Store, clear_errors, local_path, mlflow_errors

KEPT = ("models/", "exports/", "metrics/")
"""How the outputs begin that a version holds."""
CHECKED = "data/validation.json"
"""What it holds of the data, beside its index."""


def kept_bytes(store: Store, version: Version, path: str) -> bytes | None:
    """One file of a version; None where it was never kept or is gone.

    Raises:
        RegistryError: the store cannot be read: that is not the same as a file that is gone.
    """
    with TemporaryDirectory() as folder:
        found = kept_file(store, version, path, Path(folder))
        return None if found is None else found.read_bytes()


def kept_file(store: Store, version: Version, path: str, folder: Path) -> Path | None:
    """Where one file of a version lies; a server's is fetched into `folder`. Else as `kept_bytes`.

    Raises:
        RegistryError: the store cannot be read: that is not the same as a file that is gone.
    """
    if not version.run_id:
        return None
    with clear_errors(store.uri):
        try:
            base = local_path(store.client.get_run(version.run_id).info.artifact_uri)
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if base is not None:
            return base / path if (base / path).is_file() else None
        # What a download raises does not tell a file that is gone from a server that fails.
        parent = path.rpartition("/")[0] or None
        listed = store.client.list_artifacts(version.run_id, parent)
        if not any(entry.path == path and not entry.is_dir for entry in listed):
            return None
        return Path(store.client.download_artifacts(version.run_id, path, str(folder)))


def keep(store: Store, version: Version, path: str, data: bytes) -> None:
    """Put a file among those of a version, under its path in the checkout.

    Raises:
        RegistryError: it cannot be written.
    """
    with clear_errors(store.uri):
        base = local_path(store.client.get_run(version.run_id).info.artifact_uri)
        if base is not None:  # whole or not at all, and where the store says now: MLflow caches
            write_bytes(base / path, data)
            return
        with TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            file.write_bytes(data)
            parent = Path(path).parent
            place = None if parent == Path() else parent.as_posix()
            store.client.log_artifact(version.run_id, str(file), place)
