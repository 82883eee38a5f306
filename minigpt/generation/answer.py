"""What a request wrote, collected from its pieces, as JSON tells it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from minigpt.errors import MiniGPTError
from minigpt.generation.piece import Piece, Reason, Token, Usage
from minigpt.generation.request import Request
from minigpt.generation.scheduler import Scheduler, Sink


@dataclass
class Choice:
    """One text."""

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    finish: Reason | None = None
    usage: Usage | None = None
    error: str | None = None

    def add(self, piece: Piece) -> None:
        """Go on with a piece of it."""
        self.text += piece.text
        self.tokens.extend(piece.tokens)
        if piece.finish is not None:
            self.finish, self.usage, self.error = piece.finish, piece.usage, piece.error

    @property
    def written(self) -> int:
        """Tokens, once it has ended."""
        return self.usage.written if self.usage else 0

    def as_json(self, *, logprobs: bool) -> dict[str, Any]:
        """text, finish, tokens; with logprobs, a record of each token."""
        told: dict[str, Any] = {"text": self.text, "finish": self.finish, "tokens": self.written}
        if logprobs:
            told["logprobs"] = [record_of(token) for token in self.tokens]
        return told


def run(scheduler: Scheduler, request: Request, sink: Sink, stopped: Callable[[], bool]) -> None:
    """Let `sink` have the pieces of one request until its end, or until `stopped`.

    Raises:
        MiniGPTError: the model cannot do what is asked.
    """
    job = scheduler.submit(request, sink)
    while not job.done and not stopped():
        scheduler.turn()
    scheduler.cancel(job)


class Answer:
    """`n` texts."""

    def __init__(self, n: int = 1) -> None:
        """Nothing is written yet."""
        self.choices = [Choice() for _ in range(n)]

    def add(self, piece: Piece) -> None:
        """A piece, as a scheduler gives it.

        Raises:
            MiniGPTError: the text could not go on.
        """
        if piece.finish == "error":
            raise MiniGPTError(piece.error)
        self.choices[piece.choice].add(piece)

    @property
    def done(self) -> bool:
        """Whether all texts have ended."""
        return all(choice.finish is not None for choice in self.choices)

    @property
    def written(self) -> int:
        """Tokens of all texts."""
        return sum(choice.written for choice in self.choices)

    @property
    def dropped(self) -> int:
        """Tokens of the prompt's beginning that were not read."""
        usage = self.choices[0].usage
        return usage.dropped if usage else 0

    @property
    def rereads(self) -> int:
        """How often the context was full."""
        return sum(choice.usage.rereads for choice in self.choices if choice.usage)

    def as_json(self, *, logprobs: bool = False) -> dict[str, Any]:
        """The first text; all of them as `choices` where there are several; what was read.

        Nothing in it depends on what else was computed beside it.
        """
        told = self.choices[0].as_json(logprobs=logprobs)
        if len(self.choices) > 1:
            told["choices"] = [choice.as_json(logprobs=logprobs) for choice in self.choices]
        if (usage := self.choices[0].usage) is not None:
            told["usage"] = {"prompt": usage.prompt, "dropped": usage.dropped}
            told["usage"]["rereads"] = self.rereads
        return told


def record_of(token: Token) -> dict[str, Any]:
    """One token: id, text, logprob and the likeliest alternatives."""
    top = [word(token_id, text) | {"logprob": p} for token_id, text, p in token.top]
    return word(token.id, token.text) | {"logprob": token.logprob, "top": top}


def word(token_id: int, text: Sequence[int] | bytes) -> dict[str, Any]:
    """A token's id, its text, and its bytes: of a cut character the text is a U+FFFD."""
    data = bytes(text)
    return {"id": token_id, "text": data.decode("utf-8", "replace"), "bytes": list(data)}
