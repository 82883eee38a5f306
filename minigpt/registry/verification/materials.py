"""The archives that a version was made from, brought to where it is rebuilt; each hash-checked.

An index may have forgotten a package: then the archive comes from the cache of downloads, from
data/archives, from DVC's cache or from a remote, and it is said from where.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from minigpt.data.archives import members
from minigpt.data.sources import source_of
from minigpt.digest import file_digest
from minigpt.dvc_lock import LOCK, outputs_of
from minigpt.errors import DataError, RegistryError
from minigpt.files import write_bytes, write_text
from minigpt.graph import read_graph
from minigpt.process import run_dvc
from minigpt.registry import dvc_settings
from minigpt.registry.artifacts import VersionFiles
from minigpt.registry.verification.reference_files import folder_list, object_path

ARCHIVES = "data/archives"
FETCHED = "its index (or the cache of downloads)"
REMOTE = "the DVC remote"


@dataclass(frozen=True)
class SourceArchive:
    """The archive of one source."""

    source: str
    file: str
    """In data/archives."""
    sha256: str
    """As the version lists it."""
    folder: Path | None
    """Where the rebuild of a local source has its files; None for what download fetches."""
    place: str
    """Where the source says that it is had."""


def source_archives(files: VersionFiles, params: Mapping[str, Any]) -> list[SourceArchive]:
    """The archives of a version, of the sources in its params.yaml.

    Left out are a folder in data/tiny, which is part of the commit; a source that the list of files
    does not have; and one on the hub without a pinned sha256: download asks for those.
    """
    archives = []
    for name, values in sorted(dict(params.get("sources") or {}).items()):
        source = source_of(values)
        if source is None:  # written by a later or older minigpt: its own code will read it
            continue
        folder = source.rebuilt_in(name) if source.local else None
        if folder is None and source.sha256_of_archive is None:
            continue
        file = source.archive_name(name)
        entry = files.listed.get(f"{ARCHIVES}/{file}")
        if entry is not None:
            archives.append(SourceArchive(name, file, entry.sha256, folder, source.place))
    return archives


class Places:
    """Where an archive may lie on this machine, best first."""

    def __init__(self, root: Path, downloads: Path, dvc_cache: Path, files: VersionFiles) -> None:
        """`downloads` is MINIGPT_CACHE of the checkout `root`."""
        self.root, self.downloads, self.dvc_cache = root, downloads, dvc_cache
        self.md5 = outputs_of(files.lock).get(ARCHIVES)

    def find(self, archive: SourceArchive) -> tuple[Path, str] | None:
        """A file with the right sha256, and where it was; None if no place has it."""
        for path, place in (
            (self.root / self.downloads / "archives" / archive.sha256, "the cache of downloads"),
            (self.root / ARCHIVES / archive.file, ARCHIVES),
            (self._object(self.dvc_cache, archive), "DVC's cache"),
        ):
            if path is not None and path.is_file() and file_digest(path) == archive.sha256:
                return path, place
        return None

    def in_cache(self, cache: Path, archive: SourceArchive) -> Path | None:
        """As `find`, in one DVC cache."""
        path = self._object(cache, archive)
        return path if path and path.is_file() and file_digest(path) == archive.sha256 else None

    def packed(self, archive: SourceArchive, values: Mapping[str, Any], target: Path) -> bool:
        """Pack the folder of a local source as it is now, if that gives the version's archive."""
        source = source_of(values)
        if not (source and source.local and source.folder(self.root).is_dir()):
            return False
        write_bytes(target, source.packed(self.root))
        return file_digest(target) == archive.sha256

    def _object(self, cache: Path, archive: SourceArchive) -> Path | None:
        if not self.md5:
            return None
        part = folder_list(object_path(cache, self.md5)).get(archive.file)
        return object_path(cache, part) if part else None


def bring(
    files: VersionFiles,
    params: Mapping[str, Any],
    places: Places,
    tree: Path,
    downloads: Path,
    fetch: Callable[[], Path | None],
) -> dict[str, str]:
    """Put every archive that is at hand where the download of `tree` looks for it.

    `downloads` is the MINIGPT_CACHE it will have; `fetch` asks the DVC remote for data/archives
    and gives the cache it went to. Returns where each source came from.

    Raises:
        RegistryError: the files of a local source are nowhere; nobody else has them.
    """
    told, asked = {}, None
    for archive in source_archives(files, params):
        place = ""
        packed = downloads / archive.file
        if at_hand := places.find(archive):
            path, place = at_hand
        elif places.packed(archive, params["sources"][archive.source], packed):
            path, place = packed, archive.place
        else:
            asked = asked or [fetch()]
            fetched = places.in_cache(asked[0], archive) if asked[0] else None
            if fetched is not None:
                path, place = fetched, REMOTE
            elif archive.folder is not None:
                raise RegistryError(
                    f"sources.{archive.source}: the files that {files.version.name} "
                    f"{files.version.version} was made from are no longer in {archive.place}, "
                    f"{ARCHIVES}, DVC's cache or a remote (sha256 {archive.sha256[:12]}…). "
                    "Where they were pushed to: dvc remote add -d NAME PLACE, then the same command"
                )
            else:
                told[archive.source] = FETCHED
                continue
        told[archive.source] = place
        if archive.folder is None:
            target = downloads / "archives" / archive.sha256
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        else:
            unpack(path, tree / archive.folder)
    return told


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a local source's tar where the source had them.

    Raises:
        RegistryError: it is no tar that minigpt wrote.
    """
    try:
        entries = members(archive, lambda _: True, shared=False)
    except DataError as error:
        raise RegistryError(str(error)) from error
    for member in entries:
        write_bytes(folder / member.path, member.data)


def fetch_archives(
    root: Path, tree: Path, cache: Path, md5: str | None, env: Mapping[str, str]
) -> Path | None:
    """Ask the DVC remote of `root` for data/archives, whose md5 in DVC is `md5`.

    Returns the cache it went to; None where there is no remote or it does not have them.

    Raises:
        RegistryError: `md5` is none.
    """
    stage = next((spec for spec in read_graph(tree).values() if ARCHIVES in spec.outs), None)
    if md5 is None or stage is None:
        return None
    object_path(cache, md5)
    out = {"path": ARCHIVES, "hash": "md5", "md5": md5}
    lock = {"schema": "2.0", "stages": {stage.name: {"cmd": stage.cmd, "outs": [out]}}}
    own = tree / dvc_settings.FOLDER
    settings = dvc_settings.remotes_of(root, tree)
    settings["cache"] = {"dir": dvc_settings.relative(cache, own)}
    try:
        dvc_settings.write_settings(own / dvc_settings.LOCAL, settings)
        write_text(tree / LOCK, yaml.safe_dump(lock))
        code = run_dvc(["fetch", "-q", ARCHIVES], tree, lambda _: None, env)
    finally:
        (own / dvc_settings.LOCAL).unlink(missing_ok=True)  # it may hold passwords
        (tree / LOCK).unlink(missing_ok=True)
    return None if code else cache
