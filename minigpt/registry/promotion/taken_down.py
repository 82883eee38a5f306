"""What was taken down, by every record of it: the log of any name, and the tags of any version.

A tag can be deleted, and a version registered anew under another number, name or copy of the store;
what it is made of and what it learned from stay the same.
"""

from collections.abc import Iterable, Iterator

from minigpt.data.document import Document
from minigpt.registry.lineage.index import index_of
from minigpt.registry.lineage.trace import HELD_OUT
from minigpt.registry.promotion.audit_event import Event
from minigpt.registry.registry import Registry
from minigpt.registry.revocation import Revocation, merged, read_revocation
from minigpt.registry.versions import Version, list_everything


def revocation_of(
    registry: Registry, version: Version, takedowns: Iterable[Event]
) -> Revocation | None:
    """Why a version may not be champion; None where nothing that it learned from was taken down.

    `takedowns` are those of the log.

    Raises:
        RegistryError: the store cannot be read, or its index is not what the version is made of.
    """
    noted = list(revocations(registry, takedowns))
    return what_of(version, noted, index_of(registry, version) if noted else None)


def what_of(
    version: Version,
    noted: Iterable[tuple[str, Revocation]],
    index: Iterable[Document] | None,
) -> Revocation | None:
    """As `revocation_of`, by what `revocations` gives and the version's documents, if known."""
    trained = [document for document in index or () if document.split not in HELD_OUT]
    notes = [read_revocation(version.taken_down)] if version.taken_down else []
    for manifest, note in noted:
        if manifest == version.digest:
            notes.append(note)
        elif learned := note.of(trained):
            notes.append(learned)
    return merged(notes) if notes else None


def revocations(registry: Registry, takedowns: Iterable[Event]) -> Iterator[tuple[str, Revocation]]:
    """The manifest of each version that was marked, and what it was marked for."""
    for event in takedowns:
        note = Revocation(
            documents=event.documents, files=event.files, reason=event.reason or "", at=event.at
        )
        yield event.manifest, note
    for versions in list_everything(registry).values():
        for version in versions:
            if version.taken_down:
                yield version.digest, read_revocation(version.taken_down)
