"""A source in the project itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from minigpt.data.archives import MAX_MEMBER, pack_folder
from minigpt.data.folder import look_into, named, shown
from minigpt.data.source import BaseSource
from minigpt.errors import DataError
from minigpt.files import write_bytes

if TYPE_CHECKING:
    from minigpt.data.folder import Folder
    from minigpt.run import Run


class LocalSource(BaseSource):
    """Your own folder under data/."""

    noun = "folder"
    local = True

    kind: Literal["local"] = "local"
    path: Annotated[str, StringConstraints(pattern=r"^[^/\\].*$")]
    """Relative to the project's root, inside data/local (or data/tiny): DVC watches these."""

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

    def fetch(self, name: str, target: Path, local: Path, run: "Run") -> None:
        """Pack the folder; says what was left out."""
        place, roots = Path(self.path), (local, local.with_name("tiny"))
        if ".." in place.parts or not any(place.is_relative_to(root) for root in roots):
            raise DataError(
                f"sources.{name}.path: {place} is outside {local}; only changes in there are "
                f"noticed. Run: minigpt preset local --path {place}"
            )
        if not place.is_dir() and "exps" in Path.cwd().parts:
            raise DataError(
                f"sources.{name}.path: an experiment in a folder of its own (--temp, --queue) has "
                f"what git holds, and {place} is not in git. Give it a copy: "
                f"dvc exp run --temp --copy-paths {place} …; or compare settings with: "
                "python -m pipelines.sweep KEY=VALUE,VALUE"
            )
        if not place.is_dir():
            raise DataError(
                f"sources.{name}.path: {place} is not a folder. "
                "Run: minigpt preset local --path DIR"
            )
        folder = look_into(place, self.chooses)
        refuse_unfit(f"sources.{name}: {place}", folder)
        if folder.said:
            run.say(f"{name}: {folder.said}")
        write_bytes(target, pack(folder))

    def packed(self, root: Path) -> bytes:
        """The archive of the folder as it is now in the checkout `root`, said to nobody."""
        return pack(look_into(root / self.path, self.chooses))


def pack(folder: "Folder") -> bytes:
    """A tar of the texts under their paths inside."""
    return pack_folder(folder.root, list(folder.files.values()))


def refuse_unfit(what: str, folder: "Folder") -> None:
    """Refuse a folder with files that cannot be read, or that no archive may hold.

    Raises:
        DataError: names them and how to mend them.
    """
    if folder.unreadable:
        raise DataError(f"{what}: {named(folder.unreadable)}")
    for path, file in folder.files.items():
        if (size := file.stat().st_size) > MAX_MEMBER:
            raise DataError(
                f"{what}: {shown(path)} has {size / 1e6:.0f} MB; at most {MAX_MEMBER / 1e6:.0f} MB "
                "in one file. Cut it into several at line ends, for instance: "
                f"split -C 100m {shown(path)!r}"
            )


ENTRY = LocalSource
