"""A source behind an address."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from minigpt.data.pin import Pin
from minigpt.data.source import PinnedSource

if TYPE_CHECKING:
    from minigpt.run import Run


class UrlSource(PinnedSource):
    """A file behind an address: an archive, or the text itself."""

    noun = "file"

    kind: Literal["url"] = "url"
    url: Annotated[str, StringConstraints(pattern=r"^(https?|file)://")]
    pin: Pin

    @property
    def place(self) -> str:
        """The address."""
        return self.url

    def bring(self, name: str, archive: Path, run: "Run") -> None:
        """Ask for it, with the environment's proxies and certificates."""
        from minigpt.data.fetch import Web, fetch
        from minigpt.data.obtain import progress_of

        progress = progress_of(name, self.pin, run)
        fetch(f"sources.{name}", self.url, archive, self.pin, Web(), progress)


ENTRY = UrlSource
