"""What a request gives, as it comes."""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["stop", "length", "cancelled", "timeout", "error"]
"""stop: the document's end, a stop string or token, or the constraint is complete; length:
max_tokens are written; the rest: what ended it before."""


@dataclass(frozen=True)
class Token:
    """A token written, where log-probabilities were asked for."""

    id: int
    text: bytes
    logprob: float
    """Natural logarithm of the model's own probability, before any setting."""
    top: tuple[tuple[int, bytes, float], ...] = ()
    """The likeliest alternatives: id, bytes, log-probability."""


@dataclass(frozen=True)
class Usage:
    """Tokens of one choice."""

    prompt: int
    """Read, the opening <|endoftext|> included."""
    cached: int
    """Of them: not computed again, a request before had the same beginning."""
    dropped: int
    """Of the prompt's beginning: not read, the context is shorter."""
    written: int
    rereads: int
    """How often the context was full, and its newer half was read again."""


@dataclass(frozen=True)
class Piece:
    """New text of one choice; the last one has `finish` and `usage`."""

    choice: int
    text: str
    tokens: tuple[Token, ...] = ()
    """The new tokens, if `logprobs` were asked for."""
    finish: Reason | None = None
    usage: Usage | None = None
    error: str | None = None
    """What went wrong, where finish is "error"."""
