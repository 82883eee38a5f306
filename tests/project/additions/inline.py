"""A source in params.yaml itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from minigpt.data.source import BaseSource
from minigpt.files import write_text

if TYPE_CHECKING:
    from minigpt.run import Run


class InlineSource(BaseSource):
    """A text that params.yaml holds, for trying something out."""

    noun = "inline text"

    kind: Literal["inline"] = "inline"
    content: str = ""
    """The text."""

    @property
    def place(self) -> str:
        """Where it is."""
        return "params.yaml"

    @property
    def sha256_of_archive(self) -> str | None:
        """No other file is pinned."""
        return None

    def archive_name(self, name: str) -> str:
        """One text file."""
        return f"{name}.txt"

    def fetch(self, name: str, target: Path, local: Path, run: "Run") -> None:
        """Write it down."""
        del name, local, run
        write_text(target, self.content)


ENTRY = InlineSource
