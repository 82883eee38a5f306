"""The tag of a version that learned from what was taken down."""

from pydantic import ValidationError

from minigpt.config import Config
from minigpt.data.document import Document
from minigpt.registry.lineage.index import file_of


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


def read_revocation(tag: str | None) -> Revocation:
    """What an earlier takedown noted; nothing of what cannot be read."""
    try:
        return Revocation.model_validate_json(tag) if tag else Revocation()
    except ValidationError:
        return Revocation()
