"""The files with which a version is served, each checked against the version's manifest."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.digest import digest, file_digest
from minigpt.errors import PackageError, RegistryError
from minigpt.export.manifest import MANIFEST
from minigpt.files import at_home, write_bytes
from minigpt.generation.model_files import (
    AUTO,
    CONFIG,
    EXPORT,
    FILES,
    PREFERRED,
    TORCH,
    ModelFiles,
    engine_of,
    is_export,
    is_fused,
    is_package,
)
from minigpt.machine import Machine
from minigpt.registry.contents import Contents, contents_of, model_of
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.tokenizer.io import HUGGING_FACE_FILE
from minigpt.tracking.store import database_of

CACHE = ".cache/served"
"""Where what a server keeps of a version is fetched to, by its digest."""


@dataclass(frozen=True)
class Served:
    """What a ref means now: cheap to ask again."""

    name: str
    """`minigpt 3`, or a folder as it was given."""
    digest: str


def meaning_of(registry: Registry, ref: str) -> Served:
    """What `ref` names now. Of a folder, its digest.

    Raises:
        PackageError: `ref` is a path, and neither package nor export is there.
        UnknownVersionError: there is no such version.
        RegistryError: the store cannot be read.
    """
    if (folder := folder_of(ref)) is not None:
        return Served(ref, digest(folder))
    version = find_version(registry, ref)
    return Served(f"{version.name} {version.version}", version.digest)


def find_model(
    registry: Registry, ref: str, engine: str = AUTO, machine: Machine | None = None
) -> ModelFiles:
    """The files of what `ref` names, for `engine` (generation.models.ENGINES).

    `ref` is a version as `find_version` takes it, the folder of a package or an ONNX export.

    Raises:
        PackageError: no such folder, or the model was not exported for that engine.
        ParamsError: there is no such engine.
        UnknownVersionError: there is no such version.
        RegistryError: the store cannot be read, or a file is not what the version is made of.
    """
    machine = machine or Machine.load()
    if (folder := folder_of(ref)) is not None:
        return _in_folder(folder, ref, engine, machine)
    version = find_version(registry, ref)
    name = f"{version.name} {version.version}"
    contents = contents_of(registry, version) if version.digest else None
    exported = contents is not None and f"{EXPORT}/{CONFIG}" in contents.listed
    if exported and contents is not None and engine == AUTO and not _fused(contents):
        engine = TORCH
    chosen = engine_of(engine, exported, name, machine)
    if chosen == TORCH or contents is None:
        where = model_of(registry, version)
    else:
        where = _export_of(registry, version, contents, FILES[chosen])
    return ModelFiles(name, version.digest, chosen, str(where))


def folder_of(ref: str) -> Path | None:
    """The package or export that `ref` names as a folder; None where it names a version.

    Raises:
        PackageError: it is a folder of something else.
    """
    folder = at_home(ref)
    if not ref.isdecimal() and (is_package(folder) or is_export(folder)):
        return folder
    if not ref.startswith("models:/") and ("/" in ref or folder.is_dir()) and not ref.isdecimal():
        raise PackageError(
            f"{ref}: neither a package (model.json) nor an ONNX export ({CONFIG}) is there"
        )
    return None


def _in_folder(folder: Path, ref: str, engine: str, machine: Machine) -> ModelFiles:
    own = digest(folder)
    if is_export(folder):
        if engine == TORCH:
            raise PackageError(f"{ref}: an ONNX export; engine torch runs a package (models/…)")
        chosen = engine_of(PREFERRED if engine == AUTO else engine, True, ref, machine)
        _refuse_changed(folder, FILES[chosen])
        return ModelFiles(ref, own, chosen, str(folder))
    export = folder.absolute().parent.parent / EXPORT
    made_of_it = is_export(export) and _manifest(export).get("model", {}).get("digest") == own
    if engine == AUTO and made_of_it and not is_fused((export / CONFIG).read_bytes()):
        engine = TORCH
    chosen = engine_of(engine, made_of_it, ref, machine)
    if chosen == TORCH:
        return ModelFiles(ref, own, chosen, str(folder))
    _refuse_changed(export, FILES[chosen])
    return ModelFiles(ref, own, chosen, str(export))


def _manifest(export: Path) -> dict[str, Any]:
    """manifest.json of an export; empty where there is none that can be read."""
    try:
        return dict(json.loads((export / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _refuse_changed(export: Path, file: str) -> None:
    """Refuse an export whose files are not those that its manifest names.

    Raises:
        PackageError: names the file.
    """
    files = _manifest(export).get("files")
    if not isinstance(files, dict):
        raise PackageError(f"{export / MANIFEST}: missing or damaged. Run: dvc repro export")
    for name in (CONFIG, HUGGING_FACE_FILE, file):
        path = export / name
        if not path.is_file():
            raise PackageError(f"{path}: missing. Run: dvc repro export")
        if file_digest(path) != files.get(name):
            raise PackageError(
                f"{path}: not what was exported (its sha256 is not that of {MANIFEST}). "
                "Run: dvc checkout exports/onnx, or dvc repro export"
            )


def _fused(contents: Contents) -> bool:
    """Whether the export keeps a cache of its own, as the onnx engine needs it."""
    return is_fused(contents.read(f"{EXPORT}/{CONFIG}"))


def _export_of(registry: Registry, version: Version, contents: Contents, file: str) -> Path:
    """A folder with the files that an onnx engine reads, each what the version is made of."""
    names = [f"{EXPORT}/{name}" for name in (CONFIG, HUGGING_FACE_FILE, file)]
    if file not in {Path(name).name for name in contents.listed if name.startswith(EXPORT)}:
        raise RegistryError(f"{version.name} {version.version}: its {EXPORT} has no {file}")
    if database_of(registry.store.uri) is not None:
        (first, *_) = [contents.find(name, Path()) for name in names]
        return first.parent
    kept = registry.root / CACHE / version.digest
    for name in names:
        copy = kept / name
        if not copy.is_file() or file_digest(copy) != contents.listed[name]:
            write_bytes(copy, contents.read(name))
    return kept / EXPORT
