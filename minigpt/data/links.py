"""Folders outside of data/local: what each holds is noted in there, where DVC sees a change.

DVC neither looks outside of the project nor follows a link to a folder. So every command of ours
that builds, and `minigpt plan`, writes a note a source before DVC is asked: the sha256 of each of
its texts, and no path of this machine. download refuses a folder that is not as its note says: else
DVC would remember a result under the wrong input.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt.data.archives import members
from minigpt.data.copies import LOCAL, command_for, copied_before, copied_from
from minigpt.data.folder import Folder, look_into
from minigpt.data.unread import hide_unread
from minigpt.digest import remembered
from minigpt.files import remove, to_json, write_text

if TYPE_CHECKING:
    from minigpt.data.source import BaseSource

WATCHED = (LOCAL, Path("data/tiny"))
"""The folders that DVC watches for the stage download."""
NOTES = ".links"
"""In data/local. No source is called so: its name would begin with a letter or a digit."""


def note_of(local: Path, name: str) -> Path:
    """What the folder of a source held when it was last looked at; `local` is data/local."""
    return local / NOTES / f"{name}.json"


def files_of(local: Path, name: str) -> Path:
    """The files themselves, where a build elsewhere (verify, a sweep) cannot have the folder."""
    return local / NOTES / name


def is_watched(root: Path, folder: Path) -> bool:
    """Whether DVC sees each change in a folder, links on the way to it followed."""
    place = folder.resolve()
    return any(place.is_relative_to((root / watched).resolve()) for watched in WATCHED)


def note(digests: Mapping[str, str]) -> str:
    """Path inside → sha256, as a note has it."""
    return to_json(dict(digests))


def note_of_archive(archive: Path) -> str:
    """The note that fits what was packed."""
    packed = members(archive, lambda _: True, shared=False)
    return note({member.path: hashlib.sha256(member.data).hexdigest() for member in packed})


def follow(
    root: Path, sources: Mapping[str, "BaseSource"], say: Callable[[str], None] = lambda _: None
) -> None:
    """Bring the notes of the checkout `root` up to date, and remove those of no source.

    What no source reads is hidden from DVC.

    Where a folder is not there or empty (a disk that is not plugged in) its note stays, for a build
    has nothing new to learn from it. `say` is told that, and which folder has changed since it was
    copied.
    """
    needed = set()
    for name, folder in linked(root, sources).items():
        path = note_of(root / LOCAL, name)
        needed.add(path.name)
        if folder is None:
            say(
                f"sources.{name}: {sources[name].place} is not there, or holds no text; what was "
                "read of it before stays. If it was moved, say where "
                f"(params.yaml: sources.{name}.path)"
            )
            continue
        text = note(digests_of(root, folder))
        if not (path.is_file() and path.read_bytes() == text.encode()):
            write_text(path, text)
    notes = root / LOCAL / NOTES
    for path in sorted(notes.iterdir()) if notes.is_dir() else ():
        if path.name not in needed:
            remove(path)
    if notes.is_dir() and not needed:
        notes.rmdir()
    hide_unread(root, sources)
    for name, source in sorted(sources.items()):
        if source.local and (changed := changed_since_copied(root, source)):
            say(f"sources.{name}: {changed}")


def linked(root: Path, sources: Mapping[str, "BaseSource"]) -> dict[str, Folder | None]:
    """The sources with texts outside of data/local, and what each folder holds; None: nothing.

    A folder in data/local that has a link out of it is one too.
    """
    found: dict[str, Folder | None] = {}
    for name, source in sorted(sources.items()):
        if not source.local:
            continue
        place = source.folder(root)
        watched = is_watched(root, place)
        if not place.is_dir():
            found |= {} if watched else {name: None}
            continue
        folder = look_into(place, source.chooses)
        if not watched or folder.links:
            found[name] = folder if folder.files else None
    return found


def changed_since_copied(root: Path, source: "BaseSource") -> str:
    """Of a source that is a copy of another folder: what is another there now; else nothing."""
    copy = source.folder(root)
    origin = copied_from(copy)
    if origin is None or not Path(origin).is_dir():
        return ""
    before, now = copied_before(copy), digests_of(root, look_into(Path(origin), source.chooses))
    count = sum(before.get(path) != now.get(path) for path in before.keys() | now.keys())
    if not count:
        return ""
    files = "1 file differs" if count == 1 else f"{count:,} files differ"
    return f"{origin} has changed since it was copied ({files}); to take it: {command_for(copy)}"


def digests_of(root: Path, folder: Folder) -> dict[str, str]:
    """Path inside → sha256 of the texts of a folder."""
    with remembered(root) as of_file:
        return {inside: _sha256(file, of_file) for inside, file in folder.files.items()}


def _sha256(file: Path, of_file: Callable[[Path], str]) -> str:
    """A file's digest; of one that cannot be read, why: download will refuse it."""
    try:
        return of_file(file)
    except OSError as error:
        return str(error.strerror)


def bring_files(root: Path, clone: Path, sources: Mapping[str, "BaseSource"]) -> None:
    """Give a clone the texts of the folders that a path of its own would not lead it to."""
    for name, folder in linked(root, sources).items():
        if folder is not None and not Path(sources[name].place).is_absolute():
            for inside, file in folder.files.items():
                copy = files_of(clone / LOCAL, name) / inside
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
