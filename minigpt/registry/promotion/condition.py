"""One condition of promotion, as the gate decides it and the log keeps it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """One condition, with the figures it was decided by."""

    about: str
    """What it is about: a source or a format."""
    found: str
    holds: bool
    remedy: str = ""
    """Where it fails: the likely cause and what to change, if that is known."""
