"""What a person may call a version: `3`, `champion`, `models:/minigpt/3` or a package folder."""

import contextlib
import os
import re
from pathlib import Path

from minigpt.digest import digest
from minigpt.errors import PackageError, RegistryError, UnknownVersionError
from minigpt.files import at_home
from minigpt.registry.contents import contents_of, model_of
from minigpt.registry.pruned import pruned_in
from minigpt.registry.registry import Registry
from minigpt.registry.versions import (
    CHALLENGER,
    CHAMPION,
    Version,
    list_versions,
    lost_aliases,
)
from minigpt.tracking.store import described

REF = re.compile(r"(?:models:/)?(?:(?P<name>[^/@\s]+)[/@])?(?P<what>[^/@\s]+)")


def find_version(registry: Registry, ref: str) -> Version:
    """The version that `ref` names: `3`, `champion`, `minigpt@champion` or `models:/minigpt/3`.

    It may also be a package folder: then the newest version of the project's model with
    that package.

    Raises:
        UnknownVersionError: there is no such version.
        RegistryError: the store cannot be read.
    """
    folder = at_home(ref)
    if not ref.isdecimal() and (folder / "model.json").is_file():  # ./3 is the folder, 3 is not
        return _holder_of(registry, folder, ref)
    own, match = registry.name, REF.fullmatch(ref)
    if match is None or _is_path(ref, match["what"]):
        raise UnknownVersionError(
            f"{ref!r} names no version; write 3, champion, {own}@champion, models:/{own}/3 or "
            "the folder of a package (model.json is in it)"
        )
    name, what = match["name"] or own, match["what"]
    versions = list_versions(registry, name)
    if not versions:
        raise UnknownVersionError(none_registered(registry, name))
    for version in versions:
        if what == version.version or what in version.aliases:
            return version
    if what.isdecimal():
        if pruned := pruned_in(registry, name).get(what):
            raise UnknownVersionError(
                f"{name} {what} was pruned on {pruned.at[:10]} by {pruned.by}: it and its files "
                "were removed. See: minigpt registry log"
            )
        known = " to ".join(dict.fromkeys((versions[0].version, versions[-1].version)))
        raise UnknownVersionError(
            f"{name} has no version {what} (it has {known}). See: minigpt registry list"
        )
    newest = shortest_ref(name, versions[-1].version, own)
    if number := lost_aliases(registry, name, versions).get(what):
        raise UnknownVersionError(lost(name, what, number, newest))
    todo = {
        CHAMPION: f"; to make one champion: minigpt registry promote {newest}",
        CHALLENGER: "; to make what was built here the challenger: minigpt registry sync",
    }.get(what, "")
    raise UnknownVersionError(
        f"no version of {name} is called {what} yet. See: minigpt registry list{todo}"
    )


def none_registered(registry: Registry, name: str) -> str:
    """What to say where no version has a name: which store was asked, and what to do."""
    elsewhere = (
        ""
        if os.environ.get("MLFLOW_TRACKING_URI")
        else "; or, where a team's server keeps them: export MLFLOW_TRACKING_URI=http://…"
    )
    where = described(registry.root)
    return f"no version of {name} is registered in {where} yet. Run: make run{elsewhere}"


def lost(name: str, alias: str, number: str, newest: str) -> str:
    """What to say of an alias whose version was deleted; `newest` is what to type for one left."""
    cure = {CHAMPION: f"promote {newest}", CHALLENGER: "sync"}.get(alias)
    todo = f"Run: minigpt registry {cure}" if cure else "Delete the alias in MLflow, or set it anew"
    return f"{alias} is version {number} of {name}, which was deleted in MLflow. {todo}"


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


def _holder_of(registry: Registry, folder: Path, ref: str) -> Version:
    """The newest version of the project's model that holds the package in `folder`."""
    package = digest(folder)
    for version in reversed(list_versions(registry)):
        with contextlib.suppress(RegistryError):  # damaged: it holds nothing for certain
            if package in contents_of(registry, version).manifest.digests.values():
                return version
    raise UnknownVersionError(
        f"{ref}: no version of {registry.name} holds this package (digest {package[:12]}). "
        "To register what was built here: minigpt registry sync"
    )


def resolve(registry: Registry, ref: str) -> Path:
    """The package folder that `ref` names: a folder, or a version as `find_version` takes it.

    Raises:
        PackageError: `ref` is a path, and no package is there.
        UnknownVersionError: there is no such version.
        RegistryError: its files are gone, or the store cannot be read.
    """
    path = at_home(ref)
    if (path / "model.json").is_file():
        return path
    if path.is_dir() or (not ref.startswith("models:/") and os.sep in ref):
        raise PackageError(f"{ref}: no package is there (model.json is missing)")
    return model_of(registry, find_version(registry, ref))
