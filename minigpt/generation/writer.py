"""One text at work: logits to tokens, tokens to text, and when it ends. It knows no engine."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minigpt.generation.engine import Logits
from minigpt.generation.grammar import Form
from minigpt.generation.piece import Piece, Reason, Token, Usage
from minigpt.generation.request import Request
from minigpt.generation.sampling import (
    Seen,
    adjusted,
    alternatives,
    chance_at,
    choose,
    log_softmax,
)
from minigpt.generation.text import Characters, Stops
from minigpt.tokenizer.bpe import Tokenizer


class Writer:
    """Choice `choice` of a request."""

    def __init__(self, request: Request, choice: int, tokenizer: Tokenizer) -> None:
        """Nothing is written yet.

        Raises:
            ParamsError: the request's constraint cannot be followed.
        """
        self.request, self.choice, self.tokenizer = request, choice, tokenizer
        self.ids: list[int] = []
        self.logprob_sum = 0.0
        """Of the written tokens, where several texts compete."""
        self.finish: Reason | None = "length" if request.max_tokens == 0 else None
        self._characters, self._stops = Characters(), Stops(request.stop)
        # Where ignore_end bans it, the document's end is what is taken when nothing may follow.
        self._ends = ends_of(request, tokenizer) | {tokenizer.eot_id}
        self._banned = banned_by(request, tokenizer)
        self._form = Form(request.constraint, tokenizer) if request.constraint else None
        sampling = request.sampling
        self._seen = Seen(np.unique(np.array(request.prompt))) if sampling.penalizes else None
        self._judged = request.logprobs is not None or request.choices > request.n
        self._changed = bool(sampling.penalizes or sampling.logit_bias)

    def choose(self, logits: Logits) -> tuple[int, Token | None]:
        """The next token of this text behind (V,) `logits`; its record where one was asked for.

        Where bans, bias and constraint leave none, the document's end.
        """
        request = self.request
        logprobs = log_softmax(logits) if self._judged else None
        values: NDArray[np.floating] = (
            adjusted(logits, request.sampling, self._seen) if self._changed else logits.copy()
        )
        values[self._banned] = -np.inf
        if self._form is not None:
            values[self._form.forbidden()] = -np.inf
        if values.max() == -np.inf:
            return self.tokenizer.eot_id, None
        position = len(self.ids)
        token = choose(values, request.sampling, chance_at(request.seed, self.choice, position))
        if logprobs is None:
            return token, None
        self.logprob_sum += float(logprobs[token])
        if request.logprobs is None:
            return token, None
        top = alternatives(logprobs, request.logprobs)
        listed = tuple((i, self._bytes(i), logprob) for i, logprob in top.items())
        return token, Token(token, self._bytes(token), float(logprobs[token]), listed)

    def write(self, logits: Logits) -> tuple[int, Piece]:
        """Choose a token; what it adds to the text. `finish` tells whether it was the last."""
        token, record = self.choose(logits)
        return token, self.take(token, record)

    def take(self, token: int, record: Token | None = None) -> Piece:
        """Go on with `token`, whoever chose it."""
        self.ids.append(token)
        if token in self._ends:
            self.finish = "stop"
            return self._piece("", (), last=True)
        if self._seen is not None:
            self._seen.add(token)
        text = self._stops.feed(self._characters.feed(self._bytes(token)))
        if self._form is not None:
            self._form.accept(token)
        if self._stops.met or (self._form is not None and self._form.complete):
            self.finish = "stop"
        elif len(self.ids) >= self.request.max_tokens:
            self.finish = "length"
        return self._piece(text, (record,) if record else (), last=self.finish is not None)

    def close(self, reason: Reason) -> Piece:
        """End it before its time."""
        self.finish = reason
        return self._piece("", (), last=True)

    def _piece(self, text: str, tokens: Sequence[Token], *, last: bool) -> Piece:
        if last and not self._stops.met:
            text += self._stops.feed(self._characters.end())
            text += self._stops.end()
        return Piece(self.choice, text, tuple(tokens))

    def _bytes(self, token: int) -> bytes:
        return self.tokenizer.token_bytes(token)


def last_of(piece: Piece, finish: Reason, usage: Usage, error: str | None = None) -> Piece:
    """`piece` as the last one of its text."""
    return Piece(piece.choice, piece.text, piece.tokens, finish, usage, error)


def ends_of(request: Request, tokenizer: Tokenizer) -> frozenset[int]:
    """Ids that end a text and are no part of it."""
    end = () if request.ignore_end else (tokenizer.eot_id,)
    return frozenset((*end, *request.stop_tokens))


def banned_by(request: Request, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Special tokens that no text may hold."""
    ends = ends_of(request, tokenizer)
    reserved = [token for token in tokenizer.specials.values() if token not in ends]
    return np.array(reserved, np.int64)
