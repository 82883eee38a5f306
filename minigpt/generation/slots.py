"""Which sequence has which slot, and what of a prompt a slot holds already.

A slot keeps what was read into it when its sequence has ended: a prompt with the same beginning is
read from where they part.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from minigpt.generation.engine import Engine

WORTH = 16
"""Tokens that a prompt must share with another slot before they are copied: less is read sooner."""
LEAST = 2
"""Tokens of a prompt that are read anew: fused attention rounds a single one otherwise."""


@dataclass
class Slot:
    """One slot of an engine."""

    number: int
    free: bool = True
    prompt: list[int] = field(default_factory=list)
    """What it holds that was read as a prompt: only that is the same for everybody."""


class Slots:
    """The slots of an engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.all = [Slot(number) for number in range(engine.slots)]

    @property
    def free(self) -> int:
        """How many are free."""
        return sum(slot.free for slot in self.all)

    def take(self) -> Slot:
        """A free slot, the lowest: a pass goes over all rows up to the highest in use."""
        slot = next(slot for slot in self.all if slot.free)
        slot.free = False
        return slot

    def take_for(self, ids: Sequence[int]) -> tuple[Slot, int]:
        """A free slot for a prompt, and how many of its ids are in it already."""
        shared = {slot.number: common(slot.prompt, ids) for slot in self.all}
        best = max(self.all, key=lambda slot: (shared[slot.number], slot.free, -slot.number))
        length = min(shared[best.number], len(ids) - LEAST)
        if length < WORTH:
            slot, length = self.take(), 0
        elif best.free:
            slot, best.free = best, False
        else:
            slot = self.take()
            self.engine.copy(best.number, slot.number, length)
        self.engine.cut(slot.number, length)
        slot.prompt = list(ids[:length])
        return slot, length

    def give_back(self, slot: Slot) -> None:
        """Free a slot; what it holds of a prompt stays until somebody needs the room."""
        self.engine.cut(slot.number, len(slot.prompt))
        # A pass over the rows around it reads one token behind what it holds.
        self.engine.cut(slot.number, self.engine.context_length - 1)
        slot.prompt = slot.prompt[: self.engine.context_length - 1]
        slot.free = True


def common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many ids two sequences begin with alike."""
    for i, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return i
    return min(len(left), len(right))
