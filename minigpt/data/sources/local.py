"""A source on this machine: in the project itself, or a folder outside that it reads."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from minigpt.data import copies, links
from minigpt.data.archives import MAX_MEMBER, pack_folder
from minigpt.data.folder import look_into, named, shown
from minigpt.data.source import BaseSource
from minigpt.data.unread import is_hidden
from minigpt.errors import DataError
from minigpt.files import at_home, write_bytes

if TYPE_CHECKING:
    from minigpt.data.folder import Folder
    from minigpt.run import Run

EXPERIMENT = "an experiment in a folder of its own (--temp, --queue) has what git holds, and "


class LocalSource(BaseSource):
    """Your own folder: under data/, or anywhere on this machine."""

    noun = "folder"
    local = True

    kind: Literal["local"] = "local"
    path: Annotated[str, StringConstraints(min_length=1)]
    """A folder in data/local (or data/tiny), or outside of the checkout: each run looks into it."""

    @property
    def place(self) -> str:
        """The folder."""
        return self.path

    @property
    def sha256_of_archive(self) -> str | None:
        """None: the files may change, and the next run takes them as they are."""
        return None

    def archive_name(self, name: str) -> str:
        """The folder as a tar."""
        return f"{name}.tar"

    def folder(self, root: Path) -> Path:
        """Where the checkout `root` has it."""
        return root / at_home(self.path)

    @property
    def outside(self) -> bool:
        """Whether its path leads out of any checkout."""
        path = Path(os.path.normpath(at_home(self.path)))
        return path.is_absolute() or path.parts[:1] == (os.pardir,)

    def rebuilt_in(self, name: str) -> Path | None:
        """Where a build in another folder has the files; None where only the commit may."""
        place = Path(self.path)
        if self.outside:
            return links.files_of(copies.LOCAL, name)
        return place if place.is_relative_to(copies.LOCAL) and ".." not in place.parts else None

    def fetch(self, name: str, target: Path, local: Path, run: "Run") -> None:
        """Pack the folder; says what was left out."""
        place, brought = self.folder(Path()), links.files_of(local, name)
        if self.outside and brought.is_dir():
            place = brought
        self._refuse_unseen(name, place, local)
        folder = look_into(place, self.chooses)
        refuse_unfit(f"sources.{name}: {shown(str(place))}", folder, copies.advice([name]))
        if folder.said:
            run.say(f"{name}: {folder.said}")
        write_bytes(target, pack(folder))
        if folder.links or not links.is_watched(Path(), place):
            self._refuse_other_than_noted(name, target, local)

    def _refuse_unseen(self, name: str, place: Path, local: Path) -> None:
        """Refuse a folder whose changes nobody would notice, or that is not there."""
        here = Path.cwd()
        watched, top = links.is_watched(here, place), place.resolve()
        if here.is_relative_to(top):
            raise DataError(
                f"sources.{name}.path: {self.path} holds this project; name the folder that holds "
                "your text only"
            )
        if not watched and top.is_relative_to(here):
            raise DataError(
                f"sources.{name}.path: {self.path} is outside {local}; only changes in there are "
                f"noticed. Run: minigpt preset local --path {self.path}"
            )
        if watched and is_hidden(local, place):
            raise DataError(
                f"sources.{name}.path: {self.path} was read by no source when a command of ours "
                "last looked, so DVC does not see its changes. Run: make run (or, for dvc repro: "
                "minigpt plan, then dvc repro)"
            )
        if not place.is_dir() and watched and in_experiment():
            raise DataError(
                f"sources.{name}.path: {EXPERIMENT}{self.path} is not in git. Give it a copy: "
                f"dvc exp run --temp --copy-paths {self.path} …; or compare settings with: "
                "python -m pipelines.sweep KEY=VALUE,VALUE"
            )
        if not place.is_dir():
            cure = "Run: minigpt preset local --path DIR" if watched else "If it moved, say where"
            raise DataError(f"sources.{name}.path: {self.path} is not a folder. {cure}")

    def _refuse_other_than_noted(self, name: str, archive: Path, local: Path) -> None:
        """Refuse what DVC knows nothing of: it would take this for the result of another input."""
        path = links.note_of(local, name)
        if path.is_file() and path.read_text(encoding="utf-8") == links.note_of_archive(archive):
            return
        if in_experiment():
            raise DataError(
                f"sources.{name}.path: {EXPERIMENT}knows no folder outside of it. Compare settings "
                "with: python -m pipelines.sweep KEY=VALUE,VALUE"
            )
        found = "has changed since it was last looked into" if path.is_file() else "is new here"
        raise DataError(
            f"sources.{name}.path: {self.path} {found}, and DVC alone does not look outside of the "
            "project. Run: make run (or, for dvc repro: minigpt plan, then dvc repro)"
        )

    def packed(self, root: Path) -> bytes:
        """The archive of the folder as it is now in the checkout `root`, said to nobody."""
        return pack(look_into(self.folder(root), self.chooses))


def in_experiment() -> bool:
    """Whether DVC runs an experiment here, in a folder that has what git holds."""
    return "exps" in Path.cwd().parts


def pack(folder: "Folder") -> bytes:
    """A tar of the texts under their paths inside."""
    return pack_folder(folder.root, list(folder.files.values()))


def refuse_unfit(what: str, folder: "Folder", copied: str = "") -> None:
    """Refuse a folder with files that cannot be read, or that no archive may hold.

    `copied` says that the folder is a copy, and of what.

    Raises:
        DataError: names them and how to mend them.
    """
    advice = f"\n{copied}" if copied else ""
    if folder.unreadable:
        raise DataError(f"{what}: {named(folder.unreadable)}{advice}")
    for path, file in folder.files.items():
        if (size := file.stat().st_size) > MAX_MEMBER:
            raise DataError(
                f"{what}: {shown(path)} has {size / 1e6:.0f} MB; at most {MAX_MEMBER / 1e6:.0f} MB "
                "in one file. Cut it into several at line ends, for instance: "
                f"split -C 100m {shown(path)!r}{advice}"
            )


ENTRY = LocalSource
