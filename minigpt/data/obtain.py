"""The cache of fetched archives, each kept under its sha256."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt.data.fetch import Progress
from minigpt.data.pin import Pin
from minigpt.digest import file_digest
from minigpt.errors import DataError
from minigpt.files import writing

if TYPE_CHECKING:
    from minigpt.run import Run


def cached(pin: Pin, run: "Run", bring: Callable[[Path], None]) -> Path:
    """The pinned file in the cache; a missing or spoilt one is brought there first.

    Raises:
        DataError: what was brought is not what is pinned.
    """
    archive = run.machine.cache / "archives" / pin.sha256
    if archive.is_file() and file_digest(archive) != pin.sha256:
        run.say(f"the cached {pin.filename} is damaged; fetching it again")
        archive.unlink()
    if not archive.is_file():
        bring(archive)
        if (sha256 := file_digest(archive)) != pin.sha256:
            archive.unlink()
            raise DataError(
                f"{pin.filename}: what was brought has sha256 {sha256}, "
                f"params.yaml pins {pin.sha256}"
            )
    return archive


def progress_of(name: str, pin: Pin, run: "Run") -> Progress:
    """Progress in megabytes."""
    return lambda have: run.progress(f"{name} {have / 1e6:.1f} of {pin.bytes / 1e6:.1f} MB")


def copy(archive: Path, target: Path) -> None:
    """Copy out of the cache (a link would let an edit of one spoil the other)."""
    with writing(target):
        shutil.copyfile(archive, target)
