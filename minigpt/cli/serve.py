"""`minigpt serve`: a model over HTTP."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from minigpt.cli.shared import model_name, project_registry, talk, tell
from minigpt.errors import MissingExtraError, ParamsError, UnknownVersionError

if TYPE_CHECKING:
    from minigpt.generation.model_files import ModelFiles
    from minigpt.serving.fleet import Fleet
    from minigpt.serving.server import Mount

ENGINE_WORDS = {
    "onnx": "onnxruntime fp32", "onnx-int8": "onnxruntime int8", "onnx-int4": "onnxruntime int4",
}  # fmt: skip
LOOK_SECONDS = 5.0


def add_to(app: typer.Typer) -> None:
    """Hang the command of this file on `app`."""
    app.command()(serve)


def serve(
    ref: Annotated[
        str, typer.Argument(help="What to serve: champion, 3, minigpt@challenger, a folder …")
    ] = "champion",
    also: Annotated[
        list[str] | None, typer.Option(help="Another model beside it; may repeat.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8000,
    engine: Annotated[
        str, typer.Option(help="auto, onnx-int8, onnx, onnx-int4 or torch.")
    ] = "auto",
    slots: Annotated[int, typer.Option(min=1, max=1024, help="Texts written at once.")] = 16,
    rate: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute of one key (or address).")
    ] = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="A site whose pages may ask; may repeat.")
    ] = None,
    drain: Annotated[
        float, typer.Option(min=0, help="Seconds that open streams may take to end.")
    ] = 30.0,
    ui: Annotated[bool, typer.Option("--ui", help="Put the page for people at /ui.")] = False,
    browser: Annotated[bool, typer.Option("--open", help="Open that page in a browser.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until there is such a model.")] = False,
) -> None:
    """Serve a model over HTTP: POST /generate, OpenAI's API under /v1, /docs, /metrics.

    It follows champion: what is promoted is served from the next request on. Beyond this machine
    only with keys, from the environment: MINIGPT_API_KEYS="alice:KEY,bob:OTHER_KEY".

    Examples: minigpt serve · minigpt serve 3 --also 2 --ui · minigpt serve models/finetuned
    """
    began = time.perf_counter()
    from minigpt.serving.keys import Keys

    keys = Keys.load()
    refuse_origins(cors or [])
    mount = page() if ui or browser else None
    from minigpt.serving.server import Settings, is_loopback, listen, url_of
    from minigpt.serving.server import serve as run

    loopback = is_loopback(host)
    if not keys and not loopback:
        raise ParamsError(
            f"--host {host}: others reach it, and no key is set. Set some, for example: "
            'export MINIGPT_API_KEYS="me:$(openssl rand -hex 24)"'
        )
    refs = list(dict.fromkeys([ref, *(also or ())]))
    models = {name: found(name, engine, wait) for name in refs}
    bound = listen(host, port)
    for line in introduction(models, slots, bool(keys), loopback):
        tell(line)
    for line in addresses(url_of(bound), mount is not None):
        tell(line)

    def ready() -> None:
        tell(f"ready in {time.perf_counter() - began:.1f} s · Ctrl-C drains and ends")
        if browser:
            open_page(url_of(bound))

    settings = Settings(rate, tuple(cors or ()), drain, mount)
    run(fleet_maker(models, engine, slots), bound, keys, settings, ready)
    talk("ended")


def found(ref: str, engine: str, wait: bool) -> "ModelFiles":
    """The files of a model, checked; with `wait`, when there is one.

    Raises:
        MiniGPTError: there is none, or it is damaged.
    """
    from minigpt.registry.served import find_model

    registry, told = project_registry(), False
    while True:
        try:
            return find_model(registry, ref, engine)
        except UnknownVersionError as error:
            if not wait:
                raise
            if not told:
                talk(f"waiting: {error}")
                told = True
        time.sleep(LOOK_SECONDS)


def fleet_maker(models: "dict[str, ModelFiles]", engine: str, slots: int) -> "Callable[[], Fleet]":
    """What makes the fleet, inside of the loop that it lives in."""
    from concurrent.futures import ThreadPoolExecutor

    from minigpt.serving.fleet import Fleet
    from minigpt.serving.place import Finder, Place

    def make() -> Fleet:
        registry = project_registry()
        finder = Finder(registry, engine, ThreadPoolExecutor(1, "registry"))
        places = [Place(ref, files, finder, slots) for ref, files in models.items()]
        return Fleet(places, model_name())

    return make


def page() -> "Mount":
    """What mounts the page.

    Raises:
        MissingExtraError: it is not installed.
    """
    import importlib

    try:
        mount: Mount = importlib.import_module("minigpt.ui.page").mount
    except ImportError as error:
        raise MissingExtraError(
            f"--ui: the page is not installed ({error.name} is missing). "
            "Run: python bootstrap.py setup; or serve without --ui"
        ) from error
    return mount


def open_page(url: str) -> None:
    """Show it in the user's browser, where there is a screen for one."""
    import os
    import sys
    import webbrowser
    from threading import Thread

    screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))
    if screen or sys.platform in ("darwin", "win32"):  # else a browser of texts takes the terminal
        Thread(target=webbrowser.open, args=[url], daemon=True).start()


def refuse_origins(origins: Sequence[str]) -> None:
    """Refuse what no browser would send.

    Raises:
        ParamsError: one is no origin.
    """
    from urllib.parse import urlsplit

    for origin in origins:
        parts = urlsplit(origin)
        if origin != "*" and f"{parts.scheme}://{parts.netloc}" != origin:
            raise ParamsError(
                f"--cors {origin}: expected a scheme and a host, such as https://example.org"
            )


def introduction(
    models: "dict[str, ModelFiles]", slots: int, keyed: bool, loopback: bool
) -> list[str]:
    """What is served, how, and to whom."""
    from minigpt.machine import Machine
    from minigpt.serving.notices import short_digest

    threads = Machine.load().threads
    open_to = "with keys" if keyed else "loopback only (set MINIGPT_API_KEYS to open it)"
    if keyed and loopback:
        open_to = "with keys, on loopback only"
    lines = []
    for number, (ref, files) in enumerate(models.items()):
        name = f"{ref} = {files.name}" if ref != files.name else ref
        how = ENGINE_WORDS.get(files.engine, files.engine)
        line = f"{name} ({short_digest(files.digest)}) · {how}, {slots} streams, {threads} threads"
        lines.append(f"{line} · {open_to}" if number == 0 else line)
    return lines


def addresses(url: str, page: bool) -> list[str]:
    """Where everything is."""
    first = [f"  page      {url}"] if page else []
    rest = "POST /generate   ·   /docs   ·   /metrics"
    return [*first, f"  API       {url}/v1   (OpenAI's shape)   ·   {rest}"]
