"""Who keeps runs, as their delivery sees it."""

from collections.abc import Sequence
from typing import Protocol

from minigpt.errors import RegistryError
from minigpt.tracking.tracker import Event


class Sink(Protocol):
    """Who keeps runs. It may be given everything a second time, and then changes nothing.

    Both methods raise RegistryError when they cannot be done now.
    """

    name: str
    """Part of a file name; the beginning of a journal lists the sinks that it is for."""

    def place(self) -> str:
        """Where it keeps them: another place gets a journal from its beginning."""

    def begin(self, journal: str, event: Event) -> str:
        """The sink's own id of the run of that journal, begun if it is not there."""

    def write(self, run: str, events: Sequence[Event]) -> None:
        """Keep what came after the beginning, in order.

        Raises:
            GoneError: it no longer has such a run; it is begun again.
            RefusedError: it will never take these; they are passed over.
        """


class GoneError(RegistryError):
    """The sink has lost a run that it had begun."""


class RefusedError(RegistryError):
    """The sink never takes these events: a person deleted the run, for instance."""
