"""Tab "Chat": turns, with retry; honest that a base model continues and does not answer."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import gradio as gr

from minigpt.ui import knobs, render
from minigpt.ui.desk import WRITING, Controls, Desk, Story, Tab, visitor
from minigpt.ui.runs import Run

NAME = "chat"
HONEST = (
    "A model that was trained on texts only (a base model) continues what you say; it does not "
    "answer. What it says is made up, not looked up."
)
NOTHING_SAID = "Say something first."
Messages = list[dict[str, str]]
"""In the session's state, changed in place: a run that waits for the one before sees its end."""


def build(desk: Desk) -> Controls:
    """Draw it."""
    gr.HTML(f'<p class="mg-note">{HONEST}</p>')
    said: gr.State = gr.State([])
    output = gr.HTML(render.conversation([]), elem_id="chat-output")
    line = gr.HTML(render.status(""), elem_id="chat-status")
    message = gr.Textbox(
        label="Message", info="Enter sends it, Shift and Enter start a new line",
        lines=1, max_lines=8, elem_id="chat-message",
    )  # fmt: skip
    with gr.Row(elem_classes="mg-buttons"):
        send = gr.Button("Send", variant="primary", elem_id="chat-send")
        stop = gr.Button("Stop", elem_id="chat-stop")
        retry = gr.Button("Retry", elem_id="chat-retry")
        clear = gr.Button("New conversation", elem_id="chat-clear")
    with gr.Accordion("System text", open=False):
        system = gr.Textbox(
            label="System text", info="What the model reads before the conversation",
            lines=2, elem_id="chat-system",
        )  # fmt: skip

    async def answer(
        run: Run, said: Messages, system: str, model: str | None, values: Sequence[knobs.Value]
    ) -> AsyncIterator[tuple[str, str]]:
        before = [{"role": "system", "content": system}] if system.strip() else []
        body = {**knobs.asked(values), "model": model, "messages": [*before, *said]}
        story = Story()
        yield render.conversation(said), render.status(WRITING)
        async for [delta] in run.follow(desk.server.chat(body)):
            story.add(delta)
            yield render.conversation([*said, by_model(story.text)]), render.status(WRITING)
        if story.text:
            said.append(by_model(story.text))
        yield render.conversation(said), story.end(run)

    async def say(
        request: gr.Request, number: int, said: Messages, message: str, system: str,
        model: str | None, *values: knobs.Value,
    ) -> AsyncIterator[tuple[str, str, Any]]:  # fmt: skip
        async with desk.runs.start(visitor(request), NAME, number) as run:
            if not message.strip():
                yield render.conversation(said), render.status(NOTHING_SAID), gr.skip()
                return
            said.append({"role": "user", "content": message})
            cleared: Any = ""
            async for shown, end in answer(run, said, system, model, values):
                yield shown, end, cleared
                cleared = gr.skip()  # the next message is being typed

    async def say_again(
        request: gr.Request, number: int, said: Messages, system: str, model: str | None,
        *values: knobs.Value,
    ) -> AsyncIterator[tuple[str, str, Any]]:  # fmt: skip
        turned = knobs.with_next_seed(values)
        async with desk.runs.start(visitor(request), NAME, number) as run:
            while said and said[-1]["role"] != "user":
                said.pop()
            if not said:
                yield render.conversation(said), render.status(NOTHING_SAID), gr.skip()
                return
            async for shown, end in answer(run, said, system, model, turned):
                yield shown, end, turned[knobs.SEED]

    async def forget(request: gr.Request, number: int, said: Messages) -> tuple[str, str]:
        async with desk.runs.start(visitor(request), NAME, number):
            said.clear()
        return render.conversation(said), render.status("")

    around = [system, desk.model, *desk.knobs]
    for trigger in (send.click, message.submit):
        desk.starts(trigger, say, [said, message, *around], [output, line, message])
    desk.starts(retry.click, say_again, [said, *around], [output, line, desk.seed])
    desk.starts(clear.click, forget, [said], [output, line])
    desk.stops(stop, NAME)
    return {"system": system}


def by_model(text: str) -> dict[str, str]:
    """What the model said, as a message."""
    return {"role": "assistant", "content": text}


TAB = Tab(NAME, "Chat", build)
