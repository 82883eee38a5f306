"""Tab "Tokens": each token in the colour of its probability, and what else was likely there."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from minigpt.ui import knobs, render
from minigpt.ui.desk import WRITING, Controls, Desk, Story, Tab, prompt_box, visitor

NAME = "tokens"
ALTERNATIVES = 5
"""As many as OpenAI's completions give."""
HINT = "Point at a token, or go through them with the arrow keys: what else was likely shows here."


def build(desk: Desk) -> Controls:
    """Draw it."""
    prompt = prompt_box(NAME)
    with gr.Row(elem_classes="mg-buttons"):
        start = gr.Button("Write", variant="primary", elem_id="tokens-start")
        stop = gr.Button("Stop", elem_id="tokens-stop")
    gr.HTML(render.legend())
    output = gr.HTML(render.coloured("", ()), elem_id="tokens-output")
    line = gr.HTML(render.status(""), elem_id="tokens-status")
    gr.HTML(f'<div id="mg-panel" role="status">{HINT}</div>', elem_id="tokens-panel")

    async def write(
        request: gr.Request, number: int, prompt: str, model: str | None, *values: knobs.Value
    ) -> AsyncIterator[tuple[Any, ...]]:
        body = {**knobs.asked(values), "model": model, "prompt": prompt, "logprobs": ALTERNATIVES}
        story = Story()
        async with desk.runs.start(visitor(request), NAME, number) as run:
            yield render.coloured(prompt, ()), render.status(WRITING)
            async for [delta] in run.follow(desk.server.complete(body)):
                story.add(delta)
                yield render.coloured(prompt, story.tokens), gr.skip()
            yield render.coloured(prompt, story.tokens), story.end(run)

    for trigger in (start.click, prompt.submit):
        desk.starts(trigger, write, [prompt, desk.model, *desk.knobs], [output, line])
    desk.stops(stop, NAME)
    return {"prompt": prompt}


TAB = Tab(NAME, "Tokens", build)
