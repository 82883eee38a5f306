"""What every tab shares: the server, the model chosen, the knobs, and the lines under a text."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from minigpt.ui import knobs, render
from minigpt.ui.client import Delta, Server, ShownToken
from minigpt.ui.runs import Run, Runs

ENDS = {"length": "most tokens reached", "stop": "the text ended here"}
"""What the reasons of a finish mean to a person."""
WRITING = "writing …"


@dataclass(frozen=True)
class Desk:
    """What is around the tabs."""

    server: Server
    runs: Runs
    model: gr.Dropdown
    knobs: list[gr.components.Component]
    number: gr.Number
    """Carries the number of a start, which page.js counts."""

    @property
    def seed(self) -> gr.components.Component:
        """The knob that another text turns."""
        return self.knobs[knobs.SEED]

    def starts(self, trigger: Any, write: Any, inputs: Sequence[Any], outputs: list[Any]) -> None:
        """Let `trigger` write, with the number of the start as the first input."""
        js = "(_, ...rest) => [window.minigpt.next(), ...rest]"
        trigger(write, [self.number, *inputs], outputs, js=js, **STREAM)

    def stops(self, button: gr.Button, tab: str) -> None:
        """Let `button` end what is on its way in `tab`; whoever writes there shows the end."""

        def stop(request: gr.Request, number: int) -> None:
            self.runs.stop(visitor(request), tab, number)

        js = "() => [window.minigpt.last()]"
        button.click(stop, self.number, js=js, **QUIET | {"queue": False})


Controls = dict[str, gr.components.Component]
"""What an address can set in a tab, by its name there."""
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
"""How events look: our own lines say what happens."""
STREAM: dict[str, Any] = QUIET | {"concurrency_limit": None, "trigger_mode": "multiple"}
"""Events that write: the server has a queue, and a new start ends the one before (runs.py)."""


@dataclass(frozen=True)
class Tab:
    """One tab of the page."""

    name: str
    """In the address."""
    title: str
    build: Callable[[Desk], Controls]
    """Draws it."""


def visitor(request: gr.Request) -> str:
    """Who asks: one open page."""
    return request.session_hash or ""


def prompt_box(tab: str) -> gr.Textbox:
    """Where a text to continue is typed."""
    return gr.Textbox(
        label="Prompt",
        placeholder="A text to continue. Empty: the model starts a document of its own.",
        info="Shift and Enter start, too",
        lines=3,
        max_lines=12,
        elem_id=f"{tab}-prompt",
    )


class Story:
    """A text as it comes, and how it ended."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens: list[ShownToken] = []
        self.error: str | None = None
        self._finish: str | None = None
        self._written: int | None = None
        self._model: str | None = None

    def add(self, delta: Delta | None) -> None:
        """Go on with what came."""
        if delta is None:
            return
        self.text += delta.text
        self.tokens += delta.tokens
        self.error = delta.error or self.error
        self._finish = delta.finish or self._finish
        self._written = self._written if delta.written is None else delta.written
        self._model = delta.model or self._model

    def end(self, run: Run, place: int = 0) -> str:
        """The line under it once nothing more comes."""
        seconds = run.seconds(place)
        if self.error:
            return render.status(self.error, failed=True)
        facts = []
        if self._written is not None:
            facts.append(f"{self._written:,} token{'s' * (self._written != 1)} in {seconds:.1f} s")
            facts.append(f"{self._written / max(seconds, 0.001):,.0f} tokens a second")
        if self._finish is not None:
            facts.append(ENDS.get(self._finish, self._finish))
        elif run.stopped:
            facts.append(f"stopped after {seconds:.1f} s · {len(self.text):,} characters")
        if self._model:
            facts.append(self._model)
        return render.status(" · ".join(facts))
