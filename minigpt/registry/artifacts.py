"""Files among the artifacts of a version, under the paths they had in its checkout."""

import contextlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from minigpt.digest import digest, file_digest
from minigpt.dvc_lock import LOCK, outputs_of, stages_of
from minigpt.errors import RegistryError
from minigpt.files import new_folder, write_bytes
from minigpt.log import say
from minigpt.registry.registry import Registry
from minigpt.registry.versions import MODEL, Version
from minigpt.release.manifest import FileEntry, load_files, load_manifest
from minigpt.tracking.store import local_path
from minigpt.tracking.store_errors import clear_errors, mlflow_errors

STORED = ("data/evaluation", "models/", "exports/", "metrics/", "plots/", "release/", "results/")
"""How the outputs begin that a version holds."""
VALIDATION = "data/validation.json"
"""What it holds of the data, beside its index."""
FROM_COPY = "Put the store's files back from a copy"
FILES, MANIFEST, PATCH = "release/files.json", "release/manifest.json", "source.patch"


def read_artifact(registry: Registry, version: Version, path: str) -> bytes | None:
    """One file of a version; None where it was never kept or is gone.

    Raises:
        RegistryError: the store cannot be read: that is not the same as a file that is gone.
    """
    with TemporaryDirectory() as folder:
        file = find_artifact(registry, version, path, Path(folder))
        return None if file is None else file.read_bytes()


def find_artifact(registry: Registry, version: Version, path: str, folder: Path) -> Path | None:
    """Where one file of a version lies; a server's is fetched into `folder`. Else as `kept_bytes`.

    Raises:
        RegistryError: the store cannot be read: that is not the same as a file that is gone.
    """
    if not version.run_id:
        return None
    with clear_errors(registry.store.uri):
        try:
            base = local_path(registry.artifacts_uri(version.run_id))
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        if base is not None:
            return base / path if (base / path).is_file() else None
        # What a download raises does not tell a file that is gone from a server that fails.
        parent = path.rpartition("/")[0] or None
        listed = registry.store.client.list_artifacts(version.run_id, parent)
        if not any(entry.path == path and not entry.is_dir for entry in listed):
            return None
        return Path(registry.store.client.download_artifacts(version.run_id, path, str(folder)))


def write_artifact(registry: Registry, version: Version, path: str, data: bytes) -> None:
    """Put a file among those of a version, under its path in the checkout.

    Raises:
        RegistryError: it cannot be written.
    """
    with clear_errors(registry.store.uri):
        base = local_path(_place(registry, version))
        if base is not None:  # whole or not at all, and where the store says now: MLflow caches
            write_bytes(base / path, data)
            return
        with TemporaryDirectory() as folder:
            file = Path(folder, Path(path).name)
            file.write_bytes(data)
            parent = Path(path).parent
            place = None if parent == Path() else parent.as_posix()
            registry.store.client.log_artifact(version.run_id, str(file), place)


class VersionFiles:
    """The artifacts of a version, its model among them. What is not there is None."""

    def __init__(self, version: Version, artifacts: Path, model: Path | None) -> None:
        """`model` is the package folder, which lies elsewhere than the artifacts."""
        self.version, self._artifacts, self._model = version, artifacts, model

    def path(self, name: str) -> Path | None:
        """Where a file lies that was `name` in the checkout."""
        if name == MODEL or name.startswith(f"{MODEL}/"):
            path = self._model and self._model / name.removeprefix(MODEL).lstrip("/")
        else:
            path = self._artifacts / name
        return path if path and path.exists() else None

    def need(self, name: str) -> Path:
        """As `path`.

        Raises:
            RegistryError: it is not there.
        """
        path = self.path(name)
        if path is None:
            raise RegistryError(
                f"{self.version.name} {self.version.version}: its {name} is no longer at "
                f"{self._artifacts}, so there is nothing to compare with. Was mlruns/ moved or "
                "removed? Put it back, or: minigpt registry relocate"
            )
        return path

    @cached_property
    def listed(self) -> dict[str, FileEntry]:
        """Every file of every output by path, as the version was registered."""
        return {entry.path: entry for entry in load_files(self.need(FILES), FROM_COPY).files}

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The stages of its dvc.lock; none where it holds no dvc.lock."""
        path = self.path(LOCK)
        return stages_of(path.read_bytes()) if path else {}

    def out_of(self, name: str) -> str:
        """The output of a stage that a file belongs to; its folder where no dvc.lock tells."""
        outs = [o for o in outputs_of(self.lock) if name == o or name.startswith(f"{o}/")]
        return max(outs, key=len) if outs else Path(name).parent.as_posix()


@contextlib.contextmanager
def version_files(registry: Registry, version: Version) -> Iterator[VersionFiles]:
    """The files of a version for the length of the block; a server's are fetched for it.

    Raises:
        RegistryError: the store cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with clear_errors(registry.store.uri):
            artifacts = local_path(_place(registry, version))
            temporary = TemporaryDirectory(prefix="minigpt-files-")
            folder = Path(stack.enter_context(temporary))
            if artifacts is None:
                (folder / "run").mkdir()
                fetched = registry.store.client.download_artifacts(
                    version.run_id, "", str(folder / "run")
                )
                artifacts = Path(fetched)
        model: Path | None
        try:  # not the copy in .cache: what the server holds now is to be proven
            model = package_of(registry, version, copied_to=folder / "model")
        except RegistryError:
            model = None
        yield VersionFiles(version, artifacts, model)


def _place(registry: Registry, version: Version) -> str:
    """Where the artifacts of a version lie.

    Raises:
        RegistryError: the run that holds them is gone.
    """
    try:
        return registry.artifacts_uri(version.run_id)
    except mlflow_errors() as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise RegistryError(
            f"{version.name} {version.version}: its run {version.run_id} is gone, and what the "
            f"version holds with it. {FROM_COPY}; or to register what was built here again, delete "
            "the version in MLflow, then: minigpt registry sync"
        ) from error


def package_of(registry: Registry, version: Version, copied_to: Path | None = None) -> Path:
    """The package folder of a version; a copy of it where a server keeps the files.

    The copy is kept in the checkout for the next time, and is hashed whenever it is used; with
    `copied_to` it is made anew there, whatever it is.

    Raises:
        RegistryError: its files are gone, or a server's are not those that its manifest names.
    """
    with clear_errors(registry.store.uri):
        location = registry.store.client.get_model_version_download_uri(
            version.name, version.version
        )
        folder = local_path(location)
        if folder is None:
            folder = (
                _fetch(registry, location, copied_to)
                if copied_to
                else _checked_copy(registry, version, location)
            )
    package = folder / "artifacts" / Path(MODEL).name
    if not (package / "model.json").is_file():
        raise RegistryError(
            f"{version.name} {version.version}: its files are no longer at {package}. "
            f"To register them again, delete the version in MLflow, then: minigpt registry sync"
        )
    return package


def _checked_copy(registry: Registry, version: Version, location: str) -> Path:
    """A copy of what a server keeps, in .cache; fetched once, and again where it was changed."""
    version.refuse_unnamed()
    copy = registry.root / ".cache" / "registry" / version.digest
    model_folder = copy / location.rstrip("/").rpartition("/")[2]
    if copy.is_dir():
        if _is_as_named(version, copy, model_folder):
            return model_folder
        say(f"{copy} was changed since it was fetched; fetching it again")
    with new_folder(copy) as new:
        fetched = _fetch(registry, location, new)
        write_bytes(new / MANIFEST, read_artifact(registry, version, MANIFEST) or b"")
        if not _is_as_named(version, new, fetched):
            raise RegistryError(
                f"{version.name} {version.version}: what the server holds as its {MODEL} is not "
                f"what its {MANIFEST} names. {FROM_COPY}; which file: minigpt verify "
                f"models:/{version.name}/{version.version} --from-cache"
            )
    return model_folder


def _is_as_named(version: Version, copy: Path, model: Path) -> bool:
    """Whether a copy's manifest is the one that names the version, and its package that one's."""
    manifest, package = copy / MANIFEST, model / "artifacts" / Path(MODEL).name
    if not (manifest.is_file() and package.is_dir()) or file_digest(manifest) != version.digest:
        return False
    return load_manifest(manifest, FROM_COPY).digests.get(MODEL) == digest(package)


def _fetch(registry: Registry, location: str, folder: Path) -> Path:
    """Copy what a server keeps into `folder`."""
    from mlflow.artifacts import download_artifacts

    folder.mkdir(parents=True, exist_ok=True)
    download_artifacts(artifact_uri=location, dst_path=str(folder), tracking_uri=registry.store.uri)
    return folder / location.rstrip("/").rpartition("/")[2]


def json_object(data: bytes | None) -> dict[str, Any]:
    """A JSON object; empty where it is missing or damaged."""
    try:
        return dict(json.loads(data or b"{}"))
    except (ValueError, TypeError):
        return {}
