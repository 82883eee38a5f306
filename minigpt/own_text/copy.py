"""The copy in data/local: whole or not at all, and over nobody's own files."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from minigpt.data.copies import copied_before, copied_from, record_of, write_record
from minigpt.data.folder import Folder, named, shown
from minigpt.digest import IGNORED, file_digest
from minigpt.errors import DataError, ParamsError
from minigpt.files import new_folder, remove
from minigpt.log import say


def copy_folder(folder: Folder, target: Path, options: str = "") -> None:
    """Put the texts in the place of what was copied before; a kill leaves the old ones.

    `options` are those of the command, besides the folder.

    Raises:
        DataError: a text has just gone, or there is no room; what was there stays.
    """
    before, origin, own = copied_before(target), copied_from(target), own_files(target, folder)
    gone = before.keys() - folder.files.keys()
    digests = {}
    with new_folder(target) as part:
        for path, file in folder.files.items():
            (part / path).parent.mkdir(parents=True, exist_ok=True)
            copy_file(file, part / path)
            digests[path] = file_digest(part / path)
    write_record(target, folder.root.absolute(), digests, options)
    _say_dropped(target, own)
    if gone := gone - own.keys():
        say(
            f"removed from data/local/{target.name} what {shown(str(folder.root))} "
            f"does not hold: {len(gone)} file{'s' * (len(gone) != 1)}"
        )
    if origin and Path(origin).is_dir() and Path(origin).resolve() != folder.root.resolve():
        say(
            f"data/local/{target.name} was a copy of {shown(origin)} until now. If that is another "
            f"text, rename one of the two folders: minigpt-{target.name} would hold versions of "
            "both, and hold them against each other"
        )


def drop_copy(target: Path, folder: Folder) -> None:
    """Remove what was copied before: the folder itself is read from now on."""
    if os.path.lexists(target):
        own = own_files(target, folder)
        remove(target)
        say(f"removed data/local/{target.name}, the copy of before")
        _say_dropped(target, own)
    record_of(target).unlink(missing_ok=True)


def _say_dropped(target: Path, own: dict[str, str]) -> None:
    """Name what --force dropped: it is nowhere else."""
    if own:
        say(f"--force dropped from data/local/{target.name}: {named(own)}")


def copy_file(file: Path, copy: Path) -> None:
    """Copy a file's bytes.

    Raises:
        DataError: it was there when the folder was looked through, and has just gone.
    """
    try:
        shutil.copyfile(file, copy)
    except FileNotFoundError as error:
        raise DataError(
            f"{shown(str(file))}: {error.strerror}. Nothing was changed. Run the same command again"
        ) from error


def refuse_around(target: Path, folders: Iterable[Path], *, linked: bool = False) -> None:
    """Refuse a folder that holds the place of its own copy: each copy would hold the one before.

    `linked`: nothing is copied, and `target` is the project.

    Raises:
        ParamsError: names the first that does.
    """
    place = target.resolve()
    why = "the project itself" if linked else "where its texts would be copied to"
    for folder in folders:
        if place.is_relative_to(folder.resolve()):
            raise ParamsError(
                f"{shown(str(folder))} holds {target}, {why}. Give the folder that holds your text "
                "only"
            )


def refuse_own_files(target: Path, folder: Folder) -> None:
    """Refuse to replace a file of data/local that was put or changed there by hand.

    Raises:
        DataError: names them.
    """
    if folder.root.resolve() == target.resolve() or not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise DataError(
            f"data/local/{target.name} is a {'link' if target.is_symlink() else 'file'} that was "
            "put there. Move it, or drop it with --force"
        )
    if own := own_files(target, folder):
        raise DataError(
            f"data/local/{target.name} holds {len(own):,} file{'s' * (len(own) != 1)} that "
            f"{shown(str(folder.root))} does not: {named(own)}. Move what you need, or drop it "
            "with --force"
        )


def own_files(target: Path, folder: Folder) -> dict[str, str]:
    """What a person put into the copy `target` or changed there, links included: path → which.

    Left out is what `folder` holds as well, byte for byte.
    """
    before, own = copied_before(target), {}
    for file in sorted(target.rglob("*")) if target.is_dir() and not target.is_symlink() else ():
        path = file.relative_to(target).as_posix()
        if file.name in IGNORED or (file.is_dir() and not file.is_symlink()):
            continue
        digest = file_digest(file) if file.is_file() and not file.is_symlink() else None
        new = folder.files.get(path)
        if digest and (before.get(path) == digest or (new and file_digest(new) == digest)):
            continue
        own[path] = "changed there" if path in before or new else "put there"
    return own
