"""The versions of a registered model, and what a person may call one."""

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minigpt.digest import digest
from minigpt.errors import PackageError, RegistryError
from minigpt.files import new_folder
from minigpt.registry import mutex
from minigpt.tracking.store import (
    Store,
    clear_errors,
    is_new,
    local_path,
    open_store,
    shown,
    tracking_uri,
)

CHAMPION = "champion"
CHALLENGER = "challenger"
MODEL = "models/finetuned"  # the output that a version's model is
DIGEST = "minigpt.manifest_digest"
COMMIT = "minigpt.commit"
DIRTY = "minigpt.dirty"
BITS = "minigpt.bits_per_byte"  # of the fine-tuned model on the fine-tuning source
TAKEN_DOWN = "minigpt.taken_down"  # JSON: documents, reason, at
VERIFIED = "minigpt.verified"  # JSON: at, verdict

REF = re.compile(r"(?:models:/)?(?:(?P<name>[^/@\s]+)[/@])?(?P<what>[^/@\s]+)")


@dataclass(frozen=True)
class Version:
    """One registered version: one manifest digest."""

    name: str
    version: str
    """A number, as text: MLflow gives it as int or str, depending on the store."""
    digest: str
    """sha256 of its release/manifest.json."""
    commit: str
    """Of the checkout that registered it."""
    dirty: bool
    """That checkout differed from the commit; the version holds the patch."""
    aliases: tuple[str, ...]
    """Sorted: champion, challenger."""
    bits_per_byte: float | None
    """Of the fine-tuned model on the test works of the first fine-tuning source."""
    created: datetime
    run_id: str
    """The MLflow run whose artifacts are the version's."""
    taken_down: str | None = None
    """JSON: the digests of its training documents that were taken down, why and when."""
    verified: str | None = None
    """JSON: when it was last rebuilt with no difference, and the verdict."""


def list_versions(root: Path, name: str) -> list[Version]:
    """The versions of `name`, oldest first; none if there is no store yet.

    Raises:
        RegistryError: the store cannot be read.
    """
    return [] if is_new(root) else versions_in(open_store(root), name)


def find_version(root: Path, ref: str, name: str) -> Version:
    """The version that `ref` names: `3`, `champion`, `minigpt@champion` or `models:/minigpt/3`.

    It may also be a package folder: then the newest version of `name` that holds that package.

    Raises:
        RegistryError: there is no such version, or the store cannot be read.
    """
    folder = Path(os.path.expanduser(ref))  # noqa: PTH111 (Path's raises where there is no home)
    if not ref.isdecimal() and (folder / "model.json").is_file():  # ./3 is the folder, 3 is not
        return _holder_of(root, folder, ref, name)
    match = REF.fullmatch(ref)
    if match is None or _is_path(ref, match["what"]):
        raise RegistryError(
            f"{ref!r} names no version; write 3, champion, {name}@champion, models:/{name}/3 or "
            "the folder of a package (model.json is in it)"
        )
    own, name, what = name, match["name"] or name, match["what"]
    versions = list_versions(root, name)
    if not versions:
        raise RegistryError(
            f"no version of {name} is registered in {shown(tracking_uri(root))} yet. Run: make run"
        )
    for version in versions:
        if what == version.version or what in version.aliases:
            return version
    if what.isdecimal():
        known = " to ".join(dict.fromkeys((versions[0].version, versions[-1].version)))
        raise RegistryError(
            f"{name} has no version {what} (it has {known}). See: minigpt registry list"
        )
    newest = shortest_ref(name, versions[-1].version, own)
    todo = f"; to make one champion: minigpt registry promote {newest}" if what == CHAMPION else ""
    raise RegistryError(
        f"no version of {name} is called {what} yet. See: minigpt registry list{todo}"
    )


def shortest_ref(name: str, number: str, own: str) -> str:
    """What to type for a version where `own` is the project's model: `3`, else `models:/NAME/3`."""
    return number if name == own else f"models:/{name}/{number}"


def _is_path(ref: str, what: str) -> bool:
    """Whether `ref`, which has the form of a name, was meant as a folder."""
    if ref.startswith((".", "~")):
        return True
    if ref.startswith("models:/") or what.isdecimal() or what in (CHAMPION, CHALLENGER):
        return False
    return "/" in ref or os.sep in ref or Path(ref).is_dir()


def _holder_of(root: Path, folder: Path, ref: str, name: str) -> Version:
    """The newest version of `name` that holds the package in `folder`."""
    from minigpt.registry.kept import kept_bytes
    from minigpt.registry.lineage.record import json_of

    found = digest(folder)
    if not is_new(root):
        store = open_store(root)
        for version in reversed(versions_in(store, name)):
            manifest = json_of(kept_bytes(store, version, "release/manifest.json"))
            if found in manifest.get("digests", {}).values():
                return version
    raise RegistryError(
        f"{ref}: no version of {name} holds this package (digest {found[:12]}). "
        "To register what was built here: minigpt registry sync"
    )


def resolve(ref: str, root: Path, name: str) -> Path:
    """The package folder that `ref` names: a folder, or a version as `find_version` takes it.

    Raises:
        PackageError: `ref` is a path, and no package is there.
        RegistryError: there is no such version, or its files are gone.
    """
    path = Path(ref).expanduser()
    if (path / "model.json").is_file():
        return path
    if path.is_dir() or (not ref.startswith("models:/") and os.sep in ref):
        raise PackageError(f"{ref}: no package is there (model.json is missing)")
    version = find_version(root, ref, name)
    return package_of(root, open_store(root), version)


def package_of(root: Path, store: Store, version: Version, copied_to: Path | None = None) -> Path:
    """The package folder of a version; a copy of it where a server keeps the files.

    The copy is kept in the checkout for the next time; with `copied_to` it is made anew there.

    Raises:
        RegistryError: its files are gone.
    """
    with clear_errors(store.uri):
        location = store.client.get_model_version_download_uri(version.name, version.version)
        folder = local_path(location)
        if folder is None:
            copied_to = copied_to or root / ".cache" / "registry" / version.digest
            folder = _fetched(store, location, copied_to)
    package = folder / "artifacts" / Path(MODEL).name
    if not (package / "model.json").is_file():
        raise RegistryError(
            f"{version.name} {version.version}: its files are no longer at {package}. "
            f"To register them again, delete the version in MLflow, then: minigpt registry sync"
        )
    return package


def versions_in(store: Store, name: str) -> list[Version]:
    """As `list_versions`, of an open store."""
    with clear_errors(store.uri):
        found = store.client.search_model_versions(f"name = '{name}'")
        if not found:
            return []
        # A version from a search comes without its aliases.
        aliases = aliases_in(store, name)
    versions = [_version(entry, aliases) for entry in found]
    return sorted(versions, key=lambda version: int(version.version))


def names_in(store: Store) -> list[str]:
    """Every registered name of a store, sorted.

    Raises:
        RegistryError: the store cannot be read.
    """
    names: set[str] = set()
    token: str | None = ""
    with clear_errors(store.uri):
        while token is not None:
            page = store.client.search_registered_models(page_token=token or None)
            names |= {str(model.name) for model in page}
            token = page.token or None
    return sorted(name for name in names if not name.startswith(mutex.PREFIX))


def champion_of(store: Store, name: str) -> Version | None:
    """The version that is champion, if there is one."""
    return next((v for v in versions_in(store, name) if CHAMPION in v.aliases), None)


def aliases_in(store: Store, name: str) -> dict[str, str]:
    """Alias to version number of a registered model."""
    with clear_errors(store.uri):
        aliases = store.client.get_registered_model(name).aliases
    return {alias: str(number) for alias, number in aliases.items()}


def _version(entry: Any, aliases: dict[str, str]) -> Version:
    number, tags = str(entry.version), entry.tags
    return Version(
        name=entry.name,
        version=number,
        digest=tags.get(DIGEST, ""),
        commit=tags.get(COMMIT, ""),
        dirty=tags.get(DIRTY) == "true",
        aliases=tuple(sorted(alias for alias, held in aliases.items() if held == number)),
        bits_per_byte=float(tags[BITS]) if BITS in tags else None,
        created=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
        run_id=entry.run_id or "",
        taken_down=tags.get(TAKEN_DOWN),
        verified=tags.get(VERIFIED),
    )


def _fetched(store: Store, location: str, folder: Path) -> Path:
    """A copy of files that a server keeps, fetched once."""
    from mlflow.artifacts import download_artifacts

    if not folder.is_dir():
        with new_folder(folder) as new:
            download_artifacts(artifact_uri=location, dst_path=str(new), tracking_uri=store.uri)
    return folder / location.rstrip("/").rpartition("/")[2]
