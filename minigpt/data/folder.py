"""Which files of a person's folder are its texts, and what is left out, by one rule for all.

Left out: hidden files and folders (.trash, .git), what macOS adds to archives, other formats. Links
are followed where they lead elsewhere; one that leads back into the folder would give texts twice.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from minigpt.data.text import SURROGATE
from minigpt.digest import IGNORED
from minigpt.log import printable

ARCHIVE_LITTER = "__MACOSX"
NAMED = 5
"""Things named one by one in a line."""


@dataclass
class Folder:
    """What a folder holds."""

    root: Path
    files: dict[str, Path] = field(default_factory=dict)
    """Path inside, POSIX style → the file; sorted."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Path inside → why, for what is no text of the source."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Path inside → what is wrong and how to mend it, for what would be read if it could be."""
    links: dict[str, Path] = field(default_factory=dict)
    """Path inside → where it leads, for folders and files that were followed out of `root`."""

    @property
    def said(self) -> str:
        """`3 left out (.json 2, hidden 1)`, or nothing."""
        reasons = Counter(self.left_out.values())
        if self.unreadable:
            reasons["not readable"] = len(self.unreadable)
        counts = ", ".join(f"{why} {n}" for why, n in sorted(reasons.items()))
        return f"{sum(reasons.values())} left out ({counts})" if reasons else ""


def look_into(root: Path, chooses: Callable[[str], bool]) -> Folder:
    """Go through `root`; the same files give the same answer, in the same order."""
    folder = Folder(root)
    top = root.resolve()
    _walk(folder, chooses, root, "", top, {_identity(top)})
    folder.files = dict(sorted(folder.files.items()))
    return folder


def _walk(
    folder: Folder,
    chooses: Callable[[str], bool],
    here: Path,
    inside: str,
    top: Path,
    seen: set[tuple[int, int]],
) -> None:
    try:
        entries = sorted(os.scandir(here), key=lambda entry: entry.name)
    except OSError as error:
        folder.unreadable[inside or "."] = _cure(error, "u+rx")
        return
    for entry in entries:
        path, name = Path(entry.path), f"{inside}{entry.name}"
        if entry.name in IGNORED:
            continue
        if entry.name.startswith(".") or entry.name == ARCHIVE_LITTER:
            folder.left_out |= dict.fromkeys(_everything(path, name), "hidden")
            continue
        if entry.is_symlink():
            if why := _refused(path, top):
                folder.left_out[name] = why
                continue
            folder.links[name] = path.resolve()
        if os.path.isdir(path):  # noqa: PTH112 (False where Path.is_dir raises)
            if (identity := _identity(path)) in seen:
                folder.left_out[name] = "read already"
                continue
            seen.add(identity)
            _walk(folder, chooses, path, f"{name}/", top, seen)
        elif not entry.is_file():
            folder.left_out[name] = "no file"
        elif not chooses(name):
            folder.left_out[name] = PurePosixPath(name).suffix.lower() or "no suffix"
        elif problem := _problem(path):
            folder.unreadable[name] = problem
        else:
            folder.files[name] = path


def _refused(link: Path, top: Path) -> str:
    """Why a link is not followed; empty where it is."""
    if not os.path.exists(link):  # noqa: PTH110 (False where Path.exists raises)
        return "broken link"
    target = link.resolve()
    inside, around = target.is_relative_to(top), top.is_relative_to(target)
    return "link back into the folder" if inside or around else ""


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _everything(path: Path, name: str) -> Iterator[str]:
    """Every file under a path that is left out as a whole; links are not followed."""
    if path.is_symlink() or not path.is_dir():
        yield name
        return
    for folder, _, files in os.walk(path):
        inside = Path(folder).relative_to(path).as_posix()
        yield from (str(PurePosixPath(name, inside, file)) for file in files)


def _problem(path: Path) -> str:
    """Why a file cannot be read; empty where it can."""
    if SURROGATE.search(str(path)):
        return "its name is not UTF-8; rename it"
    try:
        path.open("rb").close()
    except OSError as error:
        return _cure(error, "u+r")
    return ""


def _cure(error: OSError, mode: str) -> str:
    return f"chmod {mode}" if isinstance(error, PermissionError) else str(error.strerror)


def shown(path: str) -> str:
    """A path that any stream can write, in one line."""
    return printable(path.encode("utf-8", errors="backslashreplace").decode(), kept="")


def named(items: dict[str, str]) -> str:
    """The first few of `items` with what is said of each."""
    first = [f"{shown(path)}: {what}" for path, what in list(items.items())[:NAMED]]
    rest = len(items) - len(first)
    return "; ".join(first) + (f"; and {rest} more" if rest else "")
