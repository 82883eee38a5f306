"""Where the files of a version can still be had as they were: registry, DVC's cache, checkout."""

import hashlib
import json
import re
from pathlib import Path

from minigpt.digest import file_digest
from minigpt.dvc_lock import outputs_of
from minigpt.errors import RegistryError
from minigpt.process import run_dvc
from minigpt.registry.artifacts import FROM_COPY, VersionFiles

MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")


def cache_folder(root: Path) -> Path:
    """Where DVC keeps its objects for the checkout `root`, as DVC itself says."""
    lines: list[str] = []
    if run_dvc(["cache", "dir"], root, lines.append) or not lines:
        raise RegistryError(f"{root}: dvc does not say where its cache is: {' '.join(lines)[:200]}")
    return root / lines[-1].strip()


def object_path(cache: Path, md5: str) -> Path:
    """Where an object lies in a cache.

    Raises:
        RegistryError: that is no md5: a dvc.lock out of a store may hold anything.
    """
    if not MD5.fullmatch(md5):
        raise RegistryError(f"a dvc.lock names {md5[:40]!r}, which is no md5. {FROM_COPY}")
    return cache / "files" / "md5" / md5[:2] / md5[2:]


def folder_list(path: Path) -> dict[str, str]:
    """File -> md5 of a folder, as its object in the cache lists them; none unless it is whole."""
    try:
        data = path.read_bytes()
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != path.parent.name + path.stem:
            return {}
        return {entry["relpath"]: entry["md5"] for entry in json.loads(data)}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


class ReferenceFiles:
    """Files of a version as they were registered, where they can still be had."""

    def __init__(
        self, files: VersionFiles, root: Path, cache: Path, rebuilt: Path | None = None
    ) -> None:
        """`cache` is the DVC cache of the checkout `root`, `rebuilt` the tree of a rebuild."""
        self.files, self.root, self.cache, self.rebuilt = files, root, cache, rebuilt

    def find(self, name: str) -> Path | None:
        """In the registry, in DVC's cache, in the checkout or rebuilt; only with its sha256."""
        entry = self.files.listed.get(name)
        places = [self.files.path(name), self._object(name)]
        if entry is None:  # nothing says what it should be, but for these two
            return next((path for path in places if path and path.is_file()), None)
        places += [folder / name for folder in (self.root, self.rebuilt) if folder]
        for path in places:
            if path and path.is_file() and file_digest(path) == entry.sha256:
                return path
        return None

    def _object(self, name: str) -> Path | None:
        out = self.files.out_of(name)
        md5 = outputs_of(self.files.lock).get(out)
        if md5 and name != out:
            md5 = folder_list(object_path(self.cache, md5)).get(name.removeprefix(f"{out}/"))
        return object_path(self.cache, md5) if md5 else None
