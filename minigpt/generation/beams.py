"""Beam search: the likeliest texts of a length, as far as a few hypotheses find them.

Score of a text: mean log-probability of its tokens (length penalty 1, as transformers' default).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minigpt.errors import ParamsError
from minigpt.generation.engine import Engine, Logits
from minigpt.generation.piece import Piece, Reason, Token, Usage
from minigpt.generation.request import Request
from minigpt.generation.sampling import Floats, Seen, adjusted, alternatives, log_softmax
from minigpt.generation.slots import Slot, Slots
from minigpt.generation.text import first_of
from minigpt.generation.work import Work
from minigpt.generation.writer import Writer, banned_by, ends_of, last_of
from minigpt.tokenizer.bpe import Tokenizer


@dataclass(frozen=True)
class Hypothesis:
    """A text on the way, or ended."""

    ids: tuple[int, ...] = ()
    total: float = 0.0
    """Log-probability of all its tokens, after the settings."""
    tokens: tuple[Token, ...] = ()
    """What was asked for by `logprobs`."""
    ended: bool = False
    """Whether its last id ends it and is no part of it, or a stop string is in it."""

    @property
    def score(self) -> float:
        """What hypotheses are compared by."""
        return self.total / max(1, len(self.ids))


class Search(Work):
    """One request by beam search. It stays inside of the context."""

    def __init__(self, request: Request, engine: Engine, tokenizer: Tokenizer) -> None:
        """Nothing is read yet.

        Raises:
            ParamsError: more beams than slots, or prompt and text do not fit into the context.
        """
        if request.beams > engine.slots:
            raise ParamsError(f"beams {request.beams}: at most {engine.slots} here, one a slot")
        if (size := len(request.prompt) + request.max_tokens) > engine.context_length:
            raise ParamsError(
                f"a beam search of {request.max_tokens} tokens behind {len(request.prompt)} needs "
                f"{size} places; the model has {engine.context_length}. Ask for fewer tokens"
            )
        self.request, self.engine, self.tokenizer = request, engine, tokenizer
        self.needs, self.texts, self.done = request.beams, request.n, False
        self.unread: Sequence[int] = request.prompt
        self.slots: list[Slot] = []
        self._cached = 0
        self._live: list[Hypothesis] = [Hypothesis()]
        self._ended: list[Hypothesis] = []
        self._ends, self._banned = ends_of(request, tokenizer), banned_by(request, tokenizer)

    def begin(self, slots: Slots) -> None:
        """Take a slot a beam."""
        first, self._cached = slots.take_for(self.request.prompt)
        self.slots = [first, *(slots.take() for _ in range(self.needs - 1))]
        for slot in self.slots[1:]:
            slot.prompt = []
        self.unread = self.request.prompt[self._cached :]

    def behind_prompt(self, logits: Logits) -> list[Piece]:
        """The first tokens of all beams come from one row."""
        if self.request.max_tokens == 0:
            return self._results("length")
        return self._advance({self.slots[0].number: logits})

    def tokens(self) -> dict[int, int]:
        """The newest token of each beam."""
        if self.done or self.unread or not self._live[0].ids or not self.slots:
            return {}
        return {
            slot.number: hypothesis.ids[-1]
            for slot, hypothesis in zip(self.slots, self._live, strict=False)
        }

    def behind_step(self, logits: Mapping[int, Logits]) -> list[Piece]:
        """The best ways on of all beams."""
        return self._advance(logits)

    def close(self, reason: Reason, error: str | None = None) -> list[Piece]:
        """End with the best until now."""
        return self._results(reason, error)

    def _advance(self, logits: Mapping[int, Logits]) -> list[Piece]:
        ways: list[tuple[float, int, int, Floats]] = []
        for beam, hypothesis in enumerate(self._live):
            row = logits[self.slots[beam].number]
            own = log_softmax(row)
            settled = self._settled(row, hypothesis)
            for token, logprob in alternatives(settled, 2 * self.needs).items():
                if np.isfinite(logprob):
                    ways.append((hypothesis.total + logprob, beam, token, own))
        ways.sort(key=lambda way: (-way[0], way[1], way[2]))
        following: list[tuple[int, Hypothesis]] = []
        for rank, (total, beam, token, own) in enumerate(ways[: 2 * self.needs]):
            hypothesis = self._longer(self._live[beam], token, total, own)
            if hypothesis.ended:
                if rank < self.needs:
                    self._ended.append(hypothesis)
            elif len(following) < self.needs:
                following.append((beam, hypothesis))
        self._ended.sort(key=lambda hypothesis: -hypothesis.score)
        del self._ended[self.needs :]
        best = max((hypothesis.score for _, hypothesis in following), default=-np.inf)
        full = len(self._ended) == self.needs
        if not following or (full and self._ended[-1].score >= best):
            if self._ended:
                self._live = []  # what they were before this step are no texts
            return self._results("stop")
        self._move(following)
        if len(self._live[0].ids) >= self.request.max_tokens:
            return self._results("length")
        return []

    def _settled(self, row: Logits, hypothesis: Hypothesis) -> Floats:
        """(V,) log-probabilities after bias, penalties and bans; temperature has no part in it."""
        sampling, seen = self.request.sampling, None
        if sampling.penalizes:
            seen = Seen(np.unique(np.array(self.request.prompt)))
            for token in hypothesis.ids:
                seen.add(token)
        values = adjusted(row, sampling, seen)
        values[self._banned] = -np.inf
        return log_softmax(values)

    def _longer(self, before: Hypothesis, token: int, total: float, own: Floats) -> Hypothesis:
        ids, tokens = (*before.ids, token), before.tokens
        if self.request.logprobs is not None and token not in self._ends:
            name = self.tokenizer.token_bytes
            top = alternatives(own, self.request.logprobs)
            listed = tuple((i, name(i), logprob) for i, logprob in top.items())
            tokens = (*tokens, Token(token, name(token), float(own[token]), listed))
        ended = token in self._ends
        if not ended and self.request.stop:
            ended = first_of(self.request.stop, self.tokenizer.decode(ids)) is not None
        return Hypothesis(ids, total, tokens, ended)

    def _move(self, following: Sequence[tuple[int, Hypothesis]]) -> None:
        """Give each hypothesis a slot that holds what is before its newest token."""
        length = self.engine.length(self.slots[0].number)
        placed: dict[int, Hypothesis] = {}
        homeless: list[tuple[int, Hypothesis]] = []
        for beam, hypothesis in following:
            if beam in placed:
                homeless.append((beam, hypothesis))
            else:
                placed[beam] = hypothesis
        empty = [beam for beam in range(self.needs) if beam not in placed]
        for (beam, hypothesis), target in zip(homeless, empty, strict=False):
            source, slot = self.slots[beam], self.slots[target]
            self.engine.copy(source.number, slot.number, length)
            slot.prompt = list(source.prompt)
            placed[target] = hypothesis
        order = sorted(placed)
        self.slots = [self.slots[i] for i in order] + [
            slot for i, slot in enumerate(self.slots) if i not in placed
        ]
        self._live = [placed[i] for i in order]

    def _results(self, reason: Reason, error: str | None = None) -> list[Piece]:
        """The `n` best texts."""
        self.done = True
        texts = [*self._ended, *(h for h in self._live if len(self._ended) < self.needs or h.ids)]
        texts.sort(key=lambda hypothesis: -hypothesis.score)
        pieces = []
        for choice in range(self.request.n):
            hypothesis = texts[choice] if choice < len(texts) else Hypothesis()
            writer, text = Writer(self.request, choice, self.tokenizer), ""
            for token in hypothesis.ids:
                text += writer.take(token).text
                if writer.finish == "stop":
                    break
            finish: Reason = "stop" if hypothesis.ended else reason
            text += writer.close(finish).text
            usage = Usage(len(self.request.prompt), self._cached, 0, len(hypothesis.ids), 0)
            pieces.append(last_of(Piece(choice, text, hypothesis.tokens), finish, usage, error))
        return pieces
