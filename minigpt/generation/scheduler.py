"""Many requests over one engine: who is read, who is stepped, who waits.

Continuous batching (Orca, Yu et al. 2022): a text joins and leaves between two steps. One thread
calls it; nothing here waits or sleeps.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from minigpt.errors import BusyError, MiniGPTError, ParamsError
from minigpt.generation import beams, lookup
from minigpt.generation.engine import Engine
from minigpt.generation.piece import Piece, Reason
from minigpt.generation.request import Request
from minigpt.generation.slots import LEAST, Slots
from minigpt.generation.work import Text, Work
from minigpt.generation.writer import Writer
from minigpt.log import say
from minigpt.tokenizer.bpe import Tokenizer

PIECE = 64
"""Tokens of prompts read between two steps while others write: what a long prompt delays them."""
QUEUE = 256
"""Texts that may wait."""
Sink = Callable[[Piece], None]


@dataclass(eq=False)
class Job:
    """A request that was taken."""

    request: Request
    sink: Sink
    deadline: float | None
    works: list[Work] = field(default_factory=list)
    open: int = 0
    """Texts of it that are not finished."""
    held: list[tuple[float, list[Piece]]] = field(default_factory=list)
    """Finished texts of `best_of`, with what they are compared by."""

    @property
    def done(self) -> bool:
        """Whether its last piece was given out."""
        return self.open == 0


@dataclass
class Stats:
    """Counts since the start."""

    steps: int = 0
    stepped: int = 0
    """Texts of all steps: by `steps`, the mean batch."""
    read: int = 0
    """Prompt tokens computed."""
    cached: int = 0
    """Prompt tokens that a slot held already."""
    written: int = 0
    guessed: int = 0
    """Tokens that were read ahead and were right."""


class Scheduler:
    """Requests in, pieces out, a turn at a time."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        *,
        queue: int = QUEUE,
        piece: int = PIECE,
        guesses: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`guesses`: tokens read ahead where a text is alone and repeats itself (lookup.py)."""
        self.engine, self.tokenizer, self.stats = engine, tokenizer, Stats()
        self._slots, self._queue, self._piece = Slots(engine), queue, max(piece, LEAST + 1)
        self._guesses, self._clock = guesses, clock
        self._waiting = deque[tuple[Job, Work]]()
        self._working: list[tuple[Job, Work]] = []
        self._jobs: dict[int, Job] = {}

    @property
    def waiting(self) -> int:
        """Texts without a slot."""
        return len(self._waiting)

    @property
    def working(self) -> int:
        """Texts in slots."""
        return len(self._working)

    @property
    def busy(self) -> bool:
        """Whether a turn has something to do."""
        return bool(self._waiting or self._working)

    def submit(self, request: Request, sink: Sink) -> Job:
        """Take a request; `sink` gets its pieces during `turn`, the last of each text with finish.

        Raises:
            BusyError: the queue is full.
            ParamsError: the request cannot be followed by this model.
        """
        works = works_of(request, self.engine, self.tokenizer)
        if self.waiting + len(works) > self._queue + self._slots.free:
            raise BusyError(f"{self.waiting} texts wait already, at most {self._queue} may")
        deadline = None if request.timeout is None else self._clock() + request.timeout
        job = Job(request, sink, deadline, works, open=sum(w.texts for w in works))
        self._jobs[id(job)] = job
        self._waiting.extend((job, work) for work in works)
        return job

    def cancel(self, job: Job, reason: Reason = "cancelled", error: str | None = None) -> None:
        """End all texts of a job at once; each gets its last piece."""
        for work in job.works:
            if not work.done:
                self._give(job, work, work.close(reason, error))
        self._sweep()

    def turn(self) -> bool:
        """Read a piece of a prompt, then step every text; false where there was nothing to do."""
        self._end_late()
        self._admit()
        self._read()
        self._step()
        return self.busy

    def write(self, request: Request) -> Iterator[Piece]:
        """The pieces of one request, as they come.

        Raises:
            MiniGPTError: a text could not go on.
        """
        pieces = deque[Piece]()
        job = self.submit(request, pieces.append)
        try:
            while not job.done or pieces:
                while pieces:
                    if (piece := pieces.popleft()).finish == "error":
                        raise MiniGPTError(piece.error)
                    yield piece
                if not job.done:
                    self.turn()
        finally:
            self.cancel(job)

    def _end_late(self) -> None:
        late = [
            job for job in self._jobs.values()
            if job.deadline is not None and self._clock() > job.deadline
        ]  # fmt: skip
        for job in late:
            self.cancel(job, "timeout")

    def _admit(self) -> None:
        """Give slots to those that wait, in order, when the one before has been read."""
        while self._waiting and not any(work.unread for _, work in self._working):
            job, work = self._waiting[0]
            if work.needs > self._slots.free:
                return
            self._waiting.popleft()
            work.begin(self._slots)
            self.stats.cached += self.engine.length(work.slots[0].number)
            self._working.append((job, work))
            if work.done:  # nothing is to be written
                self._give(job, work, work.close("length"))
                self._sweep()
            else:
                return

    def _read(self) -> None:
        """Prompts in order of arrival, a piece between two steps if anybody writes."""
        budget = self._piece if any(work.tokens() for _, work in self._working) else None
        while unread := [(job, work) for job, work in self._working if work.unread]:
            job, work = unread[0]
            n = size_of_piece(len(work.unread), budget if budget is not None else self._piece * 4)
            if n == 0:
                return
            ids, slot = work.unread[:n], work.slots[0]
            logits = self.engine.read(slot.number, ids)
            slot.prompt.extend(ids)
            self.stats.read += n
            work.unread = work.unread[n:]
            if budget is not None:
                budget -= n
            if not work.unread:
                self._go_on(job, work, lambda: work.behind_prompt(logits))  # noqa: B023 (at once)
                self._sweep()
                self._admit()
                if budget is None:
                    budget = self._piece
            elif budget is None:
                return  # nobody writes; but somebody may leave meanwhile

    def _step(self) -> None:
        tokens: dict[int, int] = {}
        stepping = [(job, work, mine) for job, work in self._working if (mine := work.tokens())]
        if not stepping:
            return
        if self._guesses and len(stepping) == 1 and self._step_ahead(*stepping[0][:2]):
            return
        for _, _, mine in stepping:
            tokens |= mine
        logits = self.engine.step(tokens)
        self.stats.steps += 1
        self.stats.stepped += len(tokens)
        for job, work, _ in stepping:
            if not work.done:  # another text of its job may have failed
                self._go_on(job, work, lambda: work.behind_step(logits))  # noqa: B023 (at once)
        self._sweep()

    def _step_ahead(self, job: Job, work: Work) -> bool:
        """Read the newest token with guesses behind it; false where there is nothing to guess."""
        if not isinstance(work, Text):
            return False
        number = work.slots[0].number
        room = self.engine.context_length - self.engine.length(number) - 1
        guesses = lookup.guess(work.window, min(self._guesses, room))
        if not guesses:
            return False
        logits = self.engine.read(number, (work.window[-1], *guesses), every=True)
        before = len(work.writer.ids)
        self._go_on(job, work, lambda: work.behind_guesses(guesses, logits))
        self.stats.steps += 1
        self.stats.stepped += 1
        self.stats.guessed += max(0, len(work.writer.ids) - before - 1)
        self._sweep()
        return True

    def _go_on(self, job: Job, work: Work, pieces: Callable[[], list[Piece]]) -> None:
        """Hand out what a text makes of its logits; where that fails, its request ends alone."""
        try:
            made = pieces()
        except Exception as error:  # noqa: BLE001 (a bug in one request, and others are written)
            reason = f"{type(error).__name__}: {error}"
            say(f"a request could not go on: {reason}")
            self.cancel(job, "error", f"it could not go on ({reason})")
        else:
            self._give(job, work, made)

    def _give(self, job: Job, work: Work, pieces: Iterable[Piece]) -> None:
        """Hand pieces out; those of `best_of` when all its texts are written."""
        for piece in pieces:
            self.stats.written += piece.usage.written if piece.usage else 0
            job.open -= piece.finish is not None
            if not (isinstance(work, Text) and work.held_back):
                job.sink(piece)
                continue
            held = job.held
            while len(held) <= piece.choice:
                held.append((0.0, []))
            score = work.writer.logprob_sum / max(1, len(work.writer.ids))
            held[piece.choice] = (score, [*held[piece.choice][1], piece])
        if job.open == 0 and job.held:
            ranked = sorted(job.held, key=lambda text: -text[0])[: job.request.n]
            job.held = []
            for choice, (_, text) in enumerate(ranked):
                for piece in text:
                    job.sink(renumbered(piece, choice))

    def _sweep(self) -> None:
        """Take slots from what is done."""
        for _, work in self._working:
            if work.done:
                for slot in work.slots:
                    self._slots.give_back(slot)
                work.slots = []
        self._working = [pair for pair in self._working if not pair[1].done]
        if any(work.done for _, work in self._waiting):
            self._waiting = deque(pair for pair in self._waiting if not pair[1].done)
        self._jobs = {key: job for key, job in self._jobs.items() if not job.done}


def works_of(request: Request, engine: Engine, tokenizer: Tokenizer) -> list[Work]:
    """What a request is split into.

    Raises:
        ParamsError: this model cannot do it.
    """
    outside = [
        token for token in (*request.prompt, *request.stop_tokens, *request.sampling.logit_bias)
        if not 0 <= token < tokenizer.vocab_size
    ]  # fmt: skip
    if outside:
        raise ParamsError(
            f"token {outside[0]}: the model has ids from 0 to {tokenizer.vocab_size - 1}"
        )
    if request.beams > 1:
        return [beams.Search(request, engine, tokenizer)]
    writers = [Writer(request, choice, tokenizer) for choice in range(request.choices)]
    return [Text(writer, engine) for writer in writers]


def size_of_piece(unread: int, most: int) -> int:
    """Tokens to read next: at most `most`, and so that no single one is left or read.

    A single token is read by another kernel than several are, which rounds otherwise.
    """
    if unread <= most:
        return unread
    if unread - most < LEAST:
        most = unread - LEAST
    return most if most >= LEAST else 0


def renumbered(piece: Piece, choice: int) -> Piece:
    """The piece as one of another choice."""
    return Piece(choice, piece.text, piece.tokens, piece.finish, piece.usage, piece.error)
