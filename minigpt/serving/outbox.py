"""What a worker has written and not sent yet: gathered, so that a step is not a message.

With 16 streams a step takes 3 ms; a message for each would cost the server, and so the engine that
runs on the same cores, a third of the machine.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from minigpt.generation.piece import Piece
from minigpt.serving.wire import tokens_of

QUICKEST = 0.010
"""Seconds between two messages that no text begins or ends with: 100 a second look fluent."""
PER_TEXT = 0.0015
"""Seconds more for each text in it: what its event costs the server, times ten."""


class Outbox:
    """New text of all open requests."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._sent_at = clock, clock()
        self._new: dict[tuple[int, int], list[Piece]] = {}
        self._begun: set[tuple[int, int]] = set()
        self._urgent = False

    def add(self, request: int, piece: Piece) -> None:
        """Keep a piece until the next message."""
        key = request, piece.choice
        self._new.setdefault(key, []).append(piece)
        if key not in self._begun:
            self._begun.add(key)
            self._urgent = True
        if piece.finish is not None:
            self._begun.discard(key)
            self._urgent = True

    @property
    def empty(self) -> bool:
        """Whether there is nothing to send."""
        return not self._new

    @property
    def due(self) -> bool:
        """Whether what there is should be sent: a text has begun or ended, or it is time."""
        if self._urgent or not self._new:
            return self._urgent
        return self._clock() - self._sent_at >= max(QUICKEST, PER_TEXT * len(self._new))

    def take(self) -> list[list[Any]]:
        """Everything, joined by choice, in the order of wire.NewText."""
        news = [
            [request, choice, *_joined(pieces)] for (request, choice), pieces in self._new.items()
        ]
        self._new, self._urgent, self._sent_at = {}, False, self._clock()
        return news


def _joined(pieces: list[Piece]) -> list[Any]:
    last = pieces[-1]
    text = "".join(piece.text for piece in pieces)
    tokens = [token for piece in pieces for token in tokens_of(piece)]
    if last.finish is None and not tokens:
        return [text]
    usage = asdict(last.usage) if last.usage else None
    return [text, last.finish, usage, tokens or None, last.error]
