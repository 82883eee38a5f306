"""The tag of a version that learned from what was taken down."""

from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from minigpt.config import Config
from minigpt.data.document import Document
from minigpt.registry.lineage.index import file_of

AND = "; "  # between two reasons
INHERITED = "inherited: "
"""Before the reason, in the log, of a version that was registered after the takedown."""


class Revocation(Config):
    """What was taken down, why and when."""

    documents: tuple[str, ...] = ()
    """sha256 of each text."""
    files: tuple[str, ...] = ()
    """sha256 of each file or archive that was asked for as a whole, however its text is cut."""
    reason: str = ""
    at: str = ""
    """UTC, as ISO 8601."""

    def names(self, document: Document) -> bool:
        """Whether this document was taken down, by its text or as part of a file."""
        return document.sha256 in self.documents or file_of(document) in self.files

    def of(self, trained: Iterable[Document]) -> "Revocation | None":
        """What of it a version with these training documents learned from; None: nothing."""
        named = [document for document in trained if self.names(document)]
        if not named:
            return None
        return Revocation(
            documents=tuple(sorted({document.sha256 for document in named})),
            files=tuple(sorted({file_of(document) for document in named} & set(self.files))),
            reason=self.reason,
            at=self.at,
        )


def merged(notes: Sequence[Revocation]) -> Revocation:
    """Several takedowns as one, each reason once; its time is that of the last, not of a repeat."""
    first = [note for note in notes if not note.reason.startswith(INHERITED)] or notes
    reasons = [r for note in notes for r in note.reason.removeprefix(INHERITED).split(AND) if r]
    return Revocation(
        documents=tuple(sorted({digest for note in notes for digest in note.documents})),
        files=tuple(sorted({digest for note in notes for digest in note.files})),
        reason=AND.join(dict.fromkeys(reasons)),
        at=max(note.at for note in first),
    )


def read_revocation(tag: str | None) -> Revocation:
    """What an earlier takedown noted; nothing of what cannot be read."""
    try:
        return Revocation.model_validate_json(tag) if tag else Revocation()
    except ValidationError:
        return Revocation()
