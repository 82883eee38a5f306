"""The files that a version holds, under the paths they had in its checkout."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from minigpt.errors import RegistryError
from minigpt.registry.lineage.makers import stages_of
from minigpt.registry.versions import MODEL, Version, package_of
from minigpt.release.manifest import FileEntry, load_files
from minigpt.tracking.store import Store, clear_errors, local_path

FILES, MANIFEST, PATCH = "release/files.json", "release/manifest.json", "source.patch"
LOCK = "dvc.lock"


class Held:
    """The artifacts of a version, its model among them. What is not there is None."""

    def __init__(self, version: Version, artifacts: Path, model: Path | None) -> None:
        """`model` is the package folder, which lies elsewhere than the artifacts."""
        self.version, self._artifacts, self._model = version, artifacts, model

    def path(self, name: str) -> Path | None:
        """Where a file lies that was `name` in the checkout."""
        if name == MODEL or name.startswith(f"{MODEL}/"):
            found = self._model and self._model / name.removeprefix(MODEL).lstrip("/")
        else:
            found = self._artifacts / name
        return found if found and found.exists() else None

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
        return {entry.path: entry for entry in load_files(self.need(FILES)).files}

    @cached_property
    def lock(self) -> dict[str, Any]:
        """The stages of its dvc.lock; none where it holds no dvc.lock."""
        path = self.path(LOCK)
        return stages_of(path.read_bytes()) if path else {}

    def out_of(self, name: str) -> str:
        """The output of a stage that a file belongs to; its folder where no dvc.lock tells."""
        found = [o for o in outputs_of(self.lock) if name == o or name.startswith(f"{o}/")]
        return max(found, key=len) if found else Path(name).parent.as_posix()


def outputs_of(lock: Mapping[str, Any]) -> dict[str, str]:
    """Output -> md5, of every stage in a dvc.lock."""
    return {
        out["path"]: out["md5"]
        for stage in lock.values()
        for out in stage.get("outs", [])
        if "md5" in out
    }


@contextlib.contextmanager
def held_files(root: Path, store: Store, version: Version) -> Iterator[Held]:
    """The files of a version for the length of the block; a server's are fetched for it.

    Raises:
        RegistryError: the store cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with clear_errors(store.uri):
            uri = store.client.get_run(version.run_id).info.artifact_uri
            artifacts = local_path(uri)
            temporary = tempfile.TemporaryDirectory(prefix="minigpt-held-")
            folder = Path(stack.enter_context(temporary))
            if artifacts is None:
                (folder / "run").mkdir()
                fetched = store.client.download_artifacts(version.run_id, "", str(folder / "run"))
                artifacts = Path(fetched)
        model: Path | None
        try:  # not the copy in .cache: what the server holds now is to be proven
            model = package_of(root, store, version, copied_to=folder / "model")
        except RegistryError:
            model = None
        yield Held(version, artifacts, model)
