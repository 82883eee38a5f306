"""What a scheduler runs in slots: a text that is sampled (here), or a search (beams.py)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from minigpt.generation.engine import Engine, Logits
from minigpt.generation.piece import Piece, Reason, Usage
from minigpt.generation.slots import Slot, Slots
from minigpt.generation.writer import Writer, last_of


class Work(ABC):
    """One or more sequences that go on together."""

    needs: int
    """Slots at once."""
    texts: int
    """Last pieces that it gives: one a text."""
    unread: Sequence[int]
    """Ids still to be read into the first slot."""
    slots: list[Slot]
    """What it has."""
    done: bool

    @abstractmethod
    def begin(self, slots: Slots) -> None:
        """Take slots; what is in them already need not be read."""

    @abstractmethod
    def behind_prompt(self, logits: Logits) -> list[Piece]:
        """All of `unread` was read; (V,) logits of what follows."""

    @abstractmethod
    def tokens(self) -> dict[int, int]:
        """Slot → the id to read in the next step; none while something is unread."""

    @abstractmethod
    def behind_step(self, logits: Mapping[int, Logits]) -> list[Piece]:
        """(V,) logits behind each of `tokens`."""

    @abstractmethod
    def close(self, reason: Reason, error: str | None = None) -> list[Piece]:
        """End it before its time: the last pieces."""


class Text(Work):
    """A text written token by token, through the context's end and on."""

    needs = texts = 1

    def __init__(self, writer: Writer, engine: Engine) -> None:
        """`writer` chooses the tokens."""
        prompt = writer.request.prompt
        self.writer, self.engine = writer, engine
        self.window = list(prompt[-engine.context_length :])
        """Ids of the slot, and the one that is read next."""
        self.unread: Sequence[int] = self.window
        self.slots: list[Slot] = []
        self.done = False
        self._dropped, self._cached, self._rereads = len(prompt) - len(self.window), 0, 0

    @property
    def held_back(self) -> bool:
        """Whether nothing is shown before all choices are written: the best are given."""
        request = self.writer.request
        return request.choices > request.n

    def begin(self, slots: Slots) -> None:
        """Take one slot, if it can that holds the prompt's beginning."""
        slot, self._cached = slots.take_for(self.window)
        self.slots = [slot]
        self.unread = self.window[self._cached :]
        self.done = self.writer.finish is not None  # max_tokens is 0

    def behind_prompt(self, logits: Logits) -> list[Piece]:
        """The first token behind what was read."""
        return self._write(logits)

    def tokens(self) -> dict[int, int]:
        """The newest token."""
        if self.done or self.unread or not self.slots:
            return {}
        return {self.slots[0].number: self.window[-1]}

    def behind_step(self, logits: Mapping[int, Logits]) -> list[Piece]:
        """The next token."""
        return self._write(logits[self.slots[0].number])

    def behind_guesses(self, guesses: Sequence[int], logits: Logits) -> list[Piece]:
        """(T, V) logits behind the newest token and each guess; tokens as far as guesses hold."""
        number, pieces = self.slots[0].number, list[Piece]()
        held = self.engine.length(number) - len(guesses)
        for i, row in enumerate(logits):
            pieces += self._write(row, reread=False)
            if self.done or i == len(guesses) or self.window[-1] != guesses[i]:
                break
        self.engine.cut(number, held + i)
        if not self.done:
            self._make_room()
        return pieces

    def close(self, reason: Reason, error: str | None = None) -> list[Piece]:
        """End with what was written."""
        self.done = True
        return [last_of(self.writer.close(reason), reason, self.usage(), error)]

    def usage(self) -> Usage:
        """Tokens until now."""
        read = len(self.writer.request.prompt) - self._dropped
        written = len(self.writer.ids)
        return Usage(read, self._cached, self._dropped, written, self._rereads)

    def _write(self, logits: Logits, *, reread: bool = True) -> list[Piece]:
        token, piece = self.writer.write(logits)
        if (finish := self.writer.finish) is not None:
            self.done = True
            return [last_of(piece, finish, self.usage())]
        self.window.append(token)
        if reread:
            self._make_room()
        return [piece] if piece.text or piece.tokens else []

    def _make_room(self) -> None:
        """Where the newest token has no place left: its half of the window is read again."""
        [slot], most = self.slots, self.engine.context_length
        if len(self.window) <= most:
            return
        self._rereads += 1
        self.window = self.window[-max(1, most // 2) :]
        self.unread = self.window
        self.engine.cut(slot.number, 0)
        slot.prompt = []
