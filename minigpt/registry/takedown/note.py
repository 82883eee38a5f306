"""The tag of a version that learned from what was taken down."""

from pydantic import ValidationError

from minigpt.config import Config


class Note(Config):
    """What was taken down, why and when."""

    documents: tuple[str, ...] = ()
    """sha256 of each text."""
    reason: str = ""
    at: str = ""
    """UTC, as ISO 8601."""


def noted(tag: str | None) -> Note:
    """What an earlier takedown noted; nothing of what cannot be read."""
    try:
        return Note.model_validate_json(tag) if tag else Note()
    except ValidationError:
        return Note()
