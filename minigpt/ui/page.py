"""The page as a whole: tabs, settings, and the address that holds them."""

import asyncio
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount

from minigpt.errors import MiniGPTError
from minigpt.ui import knobs, render
from minigpt.ui.client import Server
from minigpt.ui.desk import QUIET, Controls, Desk, Tab
from minigpt.ui.runs import Runs
from minigpt.ui.tabs import TABS

if TYPE_CHECKING:
    from fastapi import FastAPI

PATH = "/ui"
HERE = Path(__file__).parent
SYSTEM_FONTS = ("system-ui", "sans-serif")
MONOSPACED = ("ui-monospace", "Consolas", "monospace")
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    '<rect width="16" height="16" rx="3" fill="#4338ca"/>'
    '<path d="M3 12V4l5 5 5-5v8" fill="none" stroke="#fff" stroke-width="2"/></svg>'
)
NO_MODEL = "The server serves no model."
Login = Callable[[str, str], bool]


def mount(
    app: "FastAPI",
    base_url: str,
    models: Callable[[], list[str]],
    *,
    headers: Mapping[str, str] | None = None,
    login: Login | None = None,
    path: str = PATH,
) -> Callable[[], None]:
    """Hang the page on a server, as a client of the endpoints at `base_url`.

    `models` gives the ids that a person can choose, the first is the default; it may wait.
    `headers` go with each request to the endpoints, such as a key; they never reach the browser.
    With `login`, the page asks for a name and a password first.

    Returns:
        What to call, in the server's loop, when the server is to end: every open page holds a
        connection, and a server that waits for its connections would wait for those.
    """
    gr.mount_gradio_app(
        app,
        build(Server(base_url, headers), models),
        path,
        auth=login,
        css_paths=HERE / "page.css",
        js=(HERE / "page.js").read_text(encoding="utf-8"),
        theme=theme(),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size=1,  # nothing is uploaded here
        pwa=False,
        ssr_mode=False,
    )
    app.add_route("/favicon.ico", show_icon, include_in_schema=False)  # browsers ask for it there
    [mounted] = [r.app for r in app.routes if isinstance(r, Mount) and r.path == path]
    return functools.partial(_let_go, mounted)


def _let_go(mounted: Any) -> None:
    mounted.stop_event.set()


def show_icon(_: Request) -> Response:
    """The icon of the browser's tab."""
    return Response(ICON, media_type="image/svg+xml")


def theme() -> gr.themes.Base:
    """Fonts of the reader's own system; colours that can be read in both modes."""
    drawn = gr.themes.Default(
        primary_hue="indigo", neutral_hue="slate", font=SYSTEM_FONTS, font_mono=MONOSPACED
    )
    return drawn.set(
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_700",
        slider_color="*primary_600",
    )


def build(server: Server, models: Callable[[], list[str]]) -> gr.Blocks:
    """The page, not yet on a server."""
    page = gr.Blocks(title="MiniGPT", analytics_enabled=False)
    with page:
        gr.HTML('<div class="mg-head"><h1>MiniGPT</h1></div>')
        with gr.Row():
            with gr.Column(scale=3, min_width=320):
                main = gr.Column()
            with gr.Column(scale=1, min_width=300):
                model = gr.Dropdown(label="Model", info="Of all tabs but Compare", elem_id="model")
                controls = _settings()
                link = gr.Button("Copy link", elem_id="copy-link")
                gr.HTML('<div id="mg-copied" role="status"></div>')
                told = gr.HTML(render.status(""), elem_id="page-status")
        desk = Desk(server, Runs(), model, controls, gr.Number(precision=0, visible=False))
        with main, gr.Tabs(selected=TABS[0].name) as tabs:
            drawn, in_tabs = zip(*(_tab(tab, desk) for tab in TABS), strict=True)
        link.click(None, js="() => window.minigpt.copyLink()", **QUIET)
        _remember(["model"], [model], [None], model)
        for control in controls:
            _remember(knobs.NAMES, controls, [knob.default for knob in knobs.KNOBS], control)
        _remember_tab(drawn, in_tabs)
        named = [(name, control) for tab in in_tabs for name, control in tab.items()]
        choices = [name in ("left", "right") for name, _ in named]

        async def read_address(request: gr.Request) -> list[Any]:
            query = dict(request.query_params)
            values, wrong = knobs.in_address(query)
            said = f"The address gives what is no setting: {', '.join(wrong)}." if wrong else ""
            try:
                served = await asyncio.to_thread(models)
            except MiniGPTError as error:
                served, said = [], str(error)
            said = said or ("" if served else NO_MODEL)
            chosen = [choice(served, query.get("model"), 0)]
            place = 0
            for (name, _), is_choice in zip(named, choices, strict=True):
                chosen.append(
                    choice(served, query.get(name), place) if is_choice else query.get(name, "")
                )
                place += is_choice
            tab = query.get("tab", TABS[0].name)
            known = tab in {tab.name for tab in TABS}
            selected = gr.Tabs(selected=tab if known else TABS[0].name)
            return [selected, render.status(said, failed=bool(said)), *chosen, *values]

        page.load(
            read_address,
            None,
            [tabs, told, model, *(control for _, control in named), *controls],
            **QUIET,
        ).then(None, js="() => window.minigpt.open()", **QUIET)
    return page


def _settings() -> list[gr.components.Component]:
    """All knobs; the ones that are seldom turned in a drawer."""
    controls = [knob.control() for knob in knobs.KNOBS[: knobs.SHOWN_FIRST]]
    with gr.Accordion("More settings", open=False):
        controls += [knob.control() for knob in knobs.KNOBS[knobs.SHOWN_FIRST :]]
    return controls


def _tab(tab: Tab, desk: Desk) -> tuple[gr.Tab, Controls]:
    """Draw a tab; what is chosen and typed in it goes into the address."""
    with gr.Tab(tab.title, id=tab.name, elem_id=f"tab-{tab.name}") as drawn:
        controls: Controls = tab.build(desk)
    for name, control in controls.items():
        _remember([name], [control], [""], control)
    return drawn, controls


def _remember_tab(drawn: Sequence[gr.Tab], in_tabs: Sequence[Controls]) -> None:
    """Put the tab that is open, and what stands in it, into the address; and nothing of others."""
    every = dict.fromkeys(name for controls in in_tabs for name in controls)
    for tab, opened, controls in zip(TABS, drawn, in_tabs, strict=True):
        names = ["tab", *controls, *(name for name in every if name not in controls)]
        defaults = [TABS[0].name, *("" for _ in every)]
        opened.select(
            None, list(controls.values()), js=_js(names, defaults, first=[tab.name]), **QUIET
        )


def _remember(
    names: Sequence[str], controls: Sequence[Any], defaults: Sequence[knobs.Value], turned: Any
) -> None:
    """Put values into the address when `turned` is."""
    # A list of models is filled once the address is read; `input` of a text misses what is pasted.
    trigger = turned.input if isinstance(turned, gr.Dropdown) else turned.change
    trigger(None, list(controls), js=_js(names, defaults), **QUIET)


def _js(names: Sequence[str], defaults: Sequence[knobs.Value], first: Sequence[str] = ()) -> str:
    given = f"{json.dumps(list(names))}, [...{json.dumps(list(first))}, ...values]"
    return f"(...values) => {{ window.minigpt.remember({given}, {json.dumps(list(defaults))}) }}"


def choice(served: Sequence[str], wanted: str | None, place: int) -> Any:
    """A list of models in which `wanted` is chosen, or the one at `place` (the last, if fewer)."""
    default = served[min(place, len(served) - 1)] if served else None
    return gr.Dropdown(choices=list(served), value=wanted if wanted in served else default)
