"""An open registry: what every room of this package is handed."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from minigpt.tracking.store import Store, is_new, open_store


@dataclass(frozen=True)
class Registry:
    """A project's registry. Its store is opened (a new one made) where it is first needed."""

    root: Path
    """The project: where files are fetched to, and what a relative path is relative to."""
    name: str
    """The registered model of the project: `3` or `champion` alone is a version of this one."""

    @property
    def is_new(self) -> bool:
        """Whether the store has yet to be made, so that nothing is registered."""
        return is_new(self.root)

    @cached_property
    def store(self) -> Store:
        """The store.

        Raises:
            RegistryError: it cannot be opened, another process keeps it locked, or it was moved.
        """
        return open_store(self.root)
