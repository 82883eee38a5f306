"""A source on the Hugging Face hub."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import StringConstraints

from minigpt.config import Count
from minigpt.data.pin import Sha256
from minigpt.data.source import BaseSource

if TYPE_CHECKING:
    from minigpt.run import Run


class HubSource(BaseSource):
    """A dataset on the Hugging Face hub, streamed; a record is a work."""

    noun = "dataset"
    on_hub = True

    kind: Literal["hf"] = "hf"
    dataset: str
    """owner/name."""
    revision: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
    """Commit of the dataset's repository: a branch would move."""
    subset: str | None = None
    """Configuration of the dataset, where it has several."""
    split: str = "train"
    text: str = "text"
    """Column that holds the text."""
    max_documents: Count = 10_000
    """The first so many records."""
    sha256: Sha256 | None = None
    """Digest of what was fetched, as the first download prints it: a cached copy is then used."""

    @property
    def place(self) -> str:
        """Dataset and commit."""
        return f"{self.dataset} {self.revision}"

    @property
    def sha256_of_archive(self) -> str | None:
        """Of the records as they were written, where params.yaml pins it."""
        return self.sha256

    def archive_name(self, name: str) -> str:
        """The records as one file."""
        return f"{name}.jsonl"

    def fetch(self, name: str, target: Path, local: Path, run: "Run") -> None:
        """Copy the records out of the cache, streamed there first where they are missing."""
        del local
        from minigpt.data.hub import cached_dataset
        from minigpt.data.obtain import copy

        copy(cached_dataset(name, self, run), target)


ENTRY = HubSource
