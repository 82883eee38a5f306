"""DVC's settings for a repository of ours: a rebuilding, which takes none from its tree; a sweep's.

They are written by the writer that DVC uses. Places are relative to the settings' own folder: so
the name of a folder above (`C# notes`, `this, that`) is nowhere a part of them.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from configobj import ConfigObj, ConfigObjError

from minigpt.errors import RegistryError

Settings = dict[str, dict[str, str]]
FOLDER, SHARED, LOCAL = ".dvc", "config", "config.local"
QUIET = {"core": {"analytics": "false", "check_update": "false"}}
PLACES = (
    "url", "keyfile", "cert_path", "key_path", "credentialpath", "configpath",
    "gdrive_user_credentials_file", "gdrive_service_account_json_file_path",
)  # fmt: skip
"""Settings of a remote that DVC takes for paths (dvc.config.Config._map_dirs)."""


def own_settings(tree: Path) -> None:
    """Replace the .dvc of a tree: a commit or a patch may say there where DVC is to write."""
    folder = tree / FOLDER
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)
    folder.mkdir()
    write_settings(folder / SHARED, QUIET)


def use_cache(tree: Path, cache: Path) -> None:
    """Point the tree's DVC at `cache`, whatever the user's configuration says.

    Raises:
        RegistryError: the tree's own settings cannot be read.
    """
    path = tree / FOLDER / LOCAL
    settings = read_settings(path)
    settings.setdefault("cache", {})["dir"] = relative(cache, tree / FOLDER)
    write_settings(path, settings)


def remotes_of(root: Path, tree: Path) -> Settings:
    """The remotes of the checkout `root`, its own settings over the shared, as `tree` names them.

    Those in the user's and the system's configuration are found by DVC itself.

    Raises:
        RegistryError: the settings of `root` cannot be read.
    """
    remotes: Settings = {}
    for name in (SHARED, LOCAL):
        for section, values in read_settings(root / FOLDER / name).items():
            if section.startswith("remote ") or section == "core":
                moved = {
                    key: _moved(value, root / FOLDER, tree / FOLDER) if key in PLACES else value
                    for key, value in values.items()
                }
                remotes.setdefault(section, {}).update(moved)
    return remotes


def relative(place: Path, folder: Path) -> str:
    """The way from `folder` to `place`, links resolved."""
    return Path(os.path.relpath(place.resolve(), folder.resolve())).as_posix()


def read_settings(path: Path) -> Settings:
    """Section -> key -> value; nothing where there is no such file.

    Raises:
        RegistryError: DVC could not read it either.
    """
    if not path.is_file():
        return {}
    try:
        read = ConfigObj(str(path), encoding="utf-8", interpolation=False)
    except (ConfigObjError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: {error}. Mend that file; dvc config --list reads it") from (
            error
        )
    return {name: dict(values) for name, values in read.items() if isinstance(values, dict)}


def write_settings(path: Path, settings: Mapping[str, Mapping[str, str]]) -> None:
    """Write settings for its owner's eyes (a remote may have a password), and read them back.

    Raises:
        RegistryError: a value cannot be written so that DVC reads the same.
    """
    written = ConfigObj(encoding="utf-8", interpolation=False, list_values=True)
    written.update({name: dict(values) for name, values in settings.items()})
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            written.write(file)
        same = read_settings(path) == settings
    except ConfigObjError:
        same = False
    if not same:
        raise RegistryError(
            f"DVC's format has no words for one of these settings: {', '.join(settings)} ({path}). "
            "Is there a line break in a folder's name or in a remote's settings?"
        )


def _moved(value: str, before: Path, now: Path) -> str:
    """A place that was relative to the folder `before`, relative to `now`."""
    if not isinstance(value, str) or re.match(r"\w+://", value) or value.startswith("~"):
        return value
    return value if Path(value).is_absolute() else relative(before / value, now)
