"""Tab "Write": a prompt and the text that follows it, as it comes."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from minigpt.ui import knobs, render
from minigpt.ui.desk import WRITING, Controls, Desk, Story, Tab, prompt_box, visitor

NAME = "write"
LABEL = "What the model wrote"


def build(desk: Desk) -> Controls:
    """Draw it."""
    prompt = prompt_box(NAME)
    with gr.Row(elem_classes="mg-buttons"):
        start = gr.Button("Write", variant="primary", elem_id="write-start")
        stop = gr.Button("Stop", elem_id="write-stop")
        again = gr.Button("Another seed", elem_id="write-again")
    output = gr.HTML(render.written("", "", LABEL), elem_id="write-output")
    line = gr.HTML(render.status(""), elem_id="write-status")

    async def write(
        request: gr.Request, number: int, prompt: str, model: str | None, *values: knobs.Value
    ) -> AsyncIterator[tuple[Any, ...]]:
        body = {**knobs.asked(values), "model": model, "prompt": prompt}
        story = Story()
        async with desk.runs.start(visitor(request), NAME, number) as run:
            yield render.written(prompt, "", LABEL), render.status(WRITING)
            async for [delta] in run.follow(desk.server.complete(body)):
                story.add(delta)
                yield render.written(prompt, story.text, LABEL), gr.skip()
            yield render.written(prompt, story.text, LABEL), story.end(run)

    async def write_another(
        request: gr.Request, number: int, prompt: str, model: str | None, *values: knobs.Value
    ) -> AsyncIterator[tuple[Any, ...]]:
        turned = knobs.with_next_seed(values)
        seed: Any = turned[knobs.SEED]
        async for shown in write(request, number, prompt, model, *turned):
            yield *shown, seed
            seed = gr.skip()

    inputs = [prompt, desk.model, *desk.knobs]
    for trigger in (start.click, prompt.submit):
        desk.starts(trigger, write, inputs, [output, line])
    desk.starts(again.click, write_another, inputs, [output, line, desk.seed])
    desk.stops(stop, NAME)
    return {"prompt": prompt}


TAB = Tab(NAME, "Write", build)
