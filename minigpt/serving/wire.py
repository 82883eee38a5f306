"""What server and worker say to each other: one JSON object a line (neither torch nor numpy).

To the worker: {"do": "submit", "id", "prompt" or "messages", "settings"}, {"do": "cancel", "id"}.
Its stdin closes: it ends at once.
From it: {"ready": facts} or {"failed": message, "code"} first; then {"taken": id, …},
{"refused": id, "kind", "message"} and {"pieces": […], "stats": {…}}.
"""

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

from minigpt.generation.piece import Piece, Token

BUSY, PARAMS = "busy", "params"
"""Kinds of a refusal: come again, or ask otherwise."""


class NewText(NamedTuple):
    """What is new of one choice since the last line."""

    id: int
    """The request, as the server numbers it."""
    choice: int
    text: str
    finish: str | None = None
    usage: dict[str, int] | None = None
    tokens: list[Any] | None = None
    """Each: id, text as Latin-1 stands for its bytes, log-probability, alternatives."""
    error: str | None = None


@dataclass(frozen=True)
class Facts:
    """What a worker tells of its model."""

    context_length: int
    vocab_size: int
    threads: int
    chats: bool
    """Whether its tokenizer carries a chat template."""


def line(value: dict[str, Any]) -> bytes:
    """A message as it is sent; every character ASCII, so that nothing in it can end the line."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def tokens_of(piece: Piece) -> list[Any]:
    """Its tokens as JSON holds them."""
    return [_token(token) for token in piece.tokens]


def _token(token: Token) -> list[Any]:
    top = [[number, text.decode("latin-1"), logprob] for number, text, logprob in token.top]
    return [token.id, token.text.decode("latin-1"), token.logprob, top]
