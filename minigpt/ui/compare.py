"""Tab "Compare": two models side by side, with one prompt, one seed and the same settings."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from minigpt.ui import knobs, render
from minigpt.ui.desk import WRITING, Controls, Desk, Story, Tab, prompt_box, visitor

NAME = "compare"
SIDES = ("left", "right")
HINT = "To compare two models, serve two: <code>minigpt ui champion --also 2</code>"


def build(desk: Desk) -> Controls:
    """Draw it."""
    prompt = prompt_box(NAME)
    with gr.Row(elem_classes="mg-buttons"):
        start = gr.Button("Write both", variant="primary", elem_id="compare-start")
        stop = gr.Button("Stop", elem_id="compare-stop")
    gr.HTML(f'<p class="mg-note">{HINT}</p>')
    models, outputs, lines = [], [], []
    with gr.Row(elem_classes="mg-sides"):
        for side in SIDES:
            with gr.Column(min_width=260):
                model = gr.Dropdown(label=f"Model on the {side}", elem_id=f"compare-{side}")
                models.append(model)
                outputs.append(
                    gr.HTML(render.written("", "", label(side)), elem_id=f"compare-{side}-output")
                )
                lines.append(gr.HTML(render.status(""), elem_id=f"compare-{side}-status"))

    async def write(
        request: gr.Request,
        number: int,
        prompt: str,
        left: str | None,
        right: str | None,
        *values: knobs.Value,
    ) -> AsyncIterator[tuple[Any, ...]]:
        body = {**knobs.asked(values), "prompt": prompt}
        stories = [Story() for _ in SIDES]

        def texts() -> list[str]:
            pairs = zip(stories, SIDES, strict=True)
            return [render.written(prompt, story.text, label(side)) for story, side in pairs]

        async with desk.runs.start(visitor(request), NAME, number) as run:
            yield *texts(), *[render.status(WRITING) for _ in SIDES]
            streams = [desk.server.complete({**body, "model": model}) for model in (left, right)]
            async for deltas in run.follow(*streams):
                for story, delta in zip(stories, deltas, strict=True):
                    story.add(delta)
                yield *texts(), *[gr.skip() for _ in SIDES]
            yield *texts(), *[story.end(run, place) for place, story in enumerate(stories)]

    for trigger in (start.click, prompt.submit):
        desk.starts(trigger, write, [prompt, *models, *desk.knobs], [*outputs, *lines])
    desk.stops(stop, NAME)
    return {"prompt": prompt} | dict(zip(SIDES, models, strict=True))


def label(side: str) -> str:
    """Of one side's text."""
    return f"What the model on the {side} wrote"


TAB = Tab(NAME, "Compare", build)
