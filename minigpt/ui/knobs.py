"""The settings of a text: their controls, their names in the address and in a request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}
Value = float | int | str | None


class Knob:
    """One setting."""

    def __init__(self, name: str, label: str, info: str, default: Value) -> None:
        self.name, self.label, self.info, self.default = name, label, info, default

    def control(self) -> gr.components.Component:
        """What a person turns."""
        raise NotImplementedError

    def read(self, text: str) -> Value:
        """The value that an address gives.

        Raises:
            ValueError: it is none.
        """
        raise NotImplementedError

    def asked(self, value: Value) -> Any:
        """What a request says for it; an empty control is the default."""
        return self.default if value in (None, "") else value

    @property
    def elem_id(self) -> str:
        """Of its control in the page."""
        return f"knob-{self.name}"


@dataclass(frozen=True)
class Scale:
    """From where to where, in which steps."""

    least: float
    most: float
    step: float


class Slider(Knob):
    """A number between two others."""

    def __init__(self, name: str, label: str, info: str, default: float, scale: Scale) -> None:
        super().__init__(name, label, info, default)
        self.scale = scale

    def control(self) -> gr.components.Component:
        """A slider beside a field."""
        return gr.Slider(
            self.scale.least,
            self.scale.most,
            self.default,  # type: ignore[arg-type]
            step=self.scale.step,
            label=self.label,
            info=self.info,
            elem_id=self.elem_id,
            buttons=[],
        )

    def read(self, text: str) -> float:
        """A number on the scale."""
        value = float(text)
        if not self.scale.least <= value <= self.scale.most:  # NaN neither
            raise ValueError(f"{self.scale.least:g} to {self.scale.most:g}")
        return value


class Whole(Knob):
    """A whole number; the server knows its bounds."""

    def control(self) -> gr.components.Component:
        """A field."""
        return gr.Number(
            self.default,  # type: ignore[arg-type]
            precision=0,
            label=self.label,
            info=self.info,
            elem_id=self.elem_id,
        )

    def read(self, text: str) -> int:
        """A whole number."""
        return int(text)


class MostLikely(Whole):
    """top_k, for which 0 means all."""

    def asked(self, value: Value) -> Any:
        """The server says null for all."""
        return super().asked(value) or None


class Stops(Knob):
    """Texts, one a line."""

    def control(self) -> gr.components.Component:
        """A field of several lines."""
        return gr.Textbox(
            str(self.default),
            lines=2,
            label=self.label,
            info=self.info,
            elem_id=self.elem_id,
        )

    def read(self, text: str) -> str:
        """As it is."""
        return text

    def asked(self, value: Value) -> list[str]:
        """The texts."""
        return [unescaped(line) for line in str(value or "").split("\n") if line]


def unescaped(line: str) -> str:
    r"""A line in which \n, \t and \\ stand for a newline, a tab and a backslash."""
    text, place = "", 0
    while place < len(line):
        two = line[place : place + 2]
        if len(two) == 2 and two[0] == "\\" and two[1] in ESCAPES:
            text, place = text + ESCAPES[two[1]], place + 2
        else:
            text, place = text + line[place], place + 1
    return text


KNOBS: tuple[Knob, ...] = (
    Slider("temperature", "Temperature", "0: the likeliest word", 0.8, Scale(0, 3, 0.05)),
    Whole("max_tokens", "Most tokens", "The text ends there", 200),
    Whole("seed", "Seed", "Same seed, same text", 0),
    MostLikely("top_k", "Top k", "Among so many; 0: all", 50),
    Slider("top_p", "Top p", "Among this much probability", 0.95, Scale(0.01, 1, 0.01)),
    Slider("min_p", "Min p", "At least this share of the likeliest", 0, Scale(0, 1, 0.01)),
    Slider("typical_p", "Typical p", "Nearest to the expected surprise", 1, Scale(0.01, 1, 0.01)),
    Slider(
        "repetition_penalty", "Repetition penalty", "1: none; also for the prompt's words", 1,
        Scale(0.5, 2, 0.01),
    ),
    Slider("frequency_penalty", "Frequency penalty", "For each time", 0, Scale(-2, 2, 0.05)),
    Slider("presence_penalty", "Presence penalty", "For any time", 0, Scale(-2, 2, 0.05)),
    Stops("stop", "Stop before", r"One a line; \n is a new line", ""),
)  # fmt: skip
SHOWN_FIRST = 4
"""Knobs outside of "More"."""
NAMES = [knob.name for knob in KNOBS]
SEED = NAMES.index("seed")


def asked(values: Sequence[Value]) -> dict[str, Any]:
    """What a request says of all knobs."""
    return {knob.name: knob.asked(value) for knob, value in zip(KNOBS, values, strict=True)}


def in_address(query: Mapping[str, str]) -> tuple[list[Value], list[str]]:
    """Values that an address gives, defaults elsewhere; and what it gives that is none."""
    values: list[Value] = []
    wrong = []
    for knob in KNOBS:
        value = knob.default
        if knob.name in query:
            try:
                value = knob.read(query[knob.name])
            except ValueError:
                wrong.append(f"{knob.name}={query[knob.name]}")
        values.append(value)
    return values, wrong


def with_next_seed(values: Sequence[Value]) -> list[Value]:
    """Values for another text; the address then names its seed."""
    turned = list(values)
    turned[SEED] = int(KNOBS[SEED].asked(values[SEED])) + 1
    return turned
