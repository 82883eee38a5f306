"""Files of a version that a decision rests on: none is believed before it is checked.

The digest that names a version is that of its manifest, which has the digest of every output that
it is made of. So whoever can write the store's files can damage a version, not make it another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from pydantic import ValidationError

from minigpt.digest import digest, file_digest, text_digest
from minigpt.errors import RegistryError
from minigpt.registry.artifacts import (
    FILES,
    FROM_COPY,
    MANIFEST,
    STORED,
    find_artifact,
    package_of,
    read_artifact,
    version_files,
)
from minigpt.registry.registry import Registry
from minigpt.registry.versions import MODEL, Version
from minigpt.release.manifest import FileList, Manifest


@dataclass(frozen=True)
class Contents:
    """What a version is made of, by a manifest that is the one which names it."""

    registry: Registry
    version: Version
    manifest: Manifest

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            RegistryError: it is gone, or is not what the version is made of.
        """
        data = read_artifact(self.registry, self.version, path)
        if data is None:
            raise damaged(self.version, path, "it is gone")
        return self.checked(path, data)

    def checked(self, path: str, data: bytes) -> bytes:
        """What was read from a file, if that is what the version is made of; raises as `read`."""
        self._refuse_other(path, sha256(data).hexdigest())
        return data

    def find(self, path: str, folder: Path) -> Path:
        """Where a file lies; a server's is fetched into `folder`. Raises as `read`."""
        return self._whole(path, find_artifact(self.registry, self.version, path, folder))

    def package(self) -> Path:
        """The folder of the version's model, as `package_of`.

        Raises:
            RegistryError: it is gone, or is not what the version is made of.
        """
        package = package_of(self.registry, self.version)
        if digest(package) != self.manifest.digests.get(MODEL):
            raise damaged(self.version, MODEL, f"it is not what its {MANIFEST} names")
        return package

    def check_stored(self) -> None:
        """Refuse a version of which a file that the store should hold is not what it was.

        Raises:
            RegistryError: names the file.
        """
        self.package()
        with version_files(self.registry, self.version) as files:
            for path in self.listed:
                if path.startswith(STORED) and not path.startswith(f"{MODEL}/"):
                    self._whole(path, files.path(path))

    def check_list(self) -> None:
        """Refuse a version whose list of files is not the one of its manifest; raises as `read`."""
        _ = self.listed

    @cached_property
    def listed(self) -> Mapping[str, str]:
        """Path of each file of each output that the version is made of → its sha256.

        Raises:
            RegistryError: the list is gone, or does not give the digests of the manifest.
        """
        data = read_artifact(self.registry, self.version, FILES)
        if data is None:
            raise damaged(self.version, FILES, "it is gone")
        try:
            files = FileList.model_validate_json(data).files
        except ValidationError as error:
            raise damaged(self.version, FILES, "it is no list of files") from error
        listed = {entry.path: entry.sha256 for entry in files}
        refuse_other_list(self.version, self.manifest, listed)
        return listed

    def _whole(self, path: str, found: Path | None) -> Path:
        if found is None:
            raise damaged(self.version, path, "it is gone")
        self._refuse_other(path, file_digest(found))
        return found

    def _refuse_other(self, path: str, found: str) -> None:
        """Refuse a file with the digest `found` where the version is made of another."""
        expected = self.manifest.digests.get(path) or self.listed.get(path)
        if expected is None:
            why = "its manifest does not cover it (an older MiniGPT registered it: make run again)"
            raise damaged(self.version, path, why)
        if found != expected:
            raise damaged(self.version, path, f"it is not what its {MANIFEST} names")


def contents_of(registry: Registry, version: Version) -> Contents:
    """What `version` is made of.

    Raises:
        RegistryError: it was registered by other means, the store cannot be read, or its manifest
            is gone or is not the one that names it.
    """
    version.refuse_unnamed()
    data = read_artifact(registry, version, MANIFEST)
    if data is None:
        raise damaged(version, MANIFEST, "it is gone")
    if sha256(data).hexdigest() != version.digest:
        raise damaged(version, MANIFEST, f"it is not the one of {version.digest[:12]}…, its name")
    try:
        return Contents(registry, version, Manifest.model_validate_json(data))
    except ValidationError as error:
        raise damaged(version, MANIFEST, "it is no manifest that this minigpt knows") from error


def model_of(registry: Registry, version: Version) -> Path:
    """The folder of a version's model; of one that was registered by other means, unchecked.

    Raises:
        RegistryError: it is gone, or is not what the version is made of.
    """
    if not version.digest:
        return package_of(registry, version)
    return contents_of(registry, version).package()


def refuse_other_list(version: Version, manifest: Manifest, listed: Mapping[str, str]) -> None:
    """Refuse a list of files (path → sha256) that does not give the digests of the manifest.

    The digest of a folder follows from its files: so no line of the list can be changed unnoticed,
    but for outputs that are no part of a version's name.

    Raises:
        RegistryError: names the output.
    """
    for out, expected in manifest.digests.items():
        inside = {
            path.removeprefix(f"{out}/"): sha256
            for path, sha256 in listed.items()
            if path.startswith(f"{out}/")
        }
        folder = text_digest(f"{sha256}  {path}" for path, sha256 in sorted(inside.items()))
        if listed.get(out, folder) != expected:
            why = f"it does not give the digest of {out} that names the version"
            raise damaged(version, FILES, why)


def damaged(version: Version, path: str, why: str) -> RegistryError:
    """A file of a version that nothing can be based on."""
    return RegistryError(
        f"{version.name} {version.version}: its {path} cannot be used: {' '.join(why.split())}. "
        f"{FROM_COPY}"
    )
