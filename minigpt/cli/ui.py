"""`minigpt ui`: the page in a browser."""

import os
from typing import Annotated

import typer

from minigpt.cli.shared import talk, tell
from minigpt.errors import MissingExtraError, ParamsError

KEY = "MINIGPT_API_KEY"
"""The key of a server that runs elsewhere and wants one."""
UNAUTHORIZED = 401


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this file on `app`."""
    app.command()(ui)


def ui(
    ref: Annotated[
        str, typer.Argument(help="What to serve: champion, 3, minigpt@challenger, a folder …")
    ] = "champion",
    also: Annotated[
        list[str] | None, typer.Option(help="Another model beside it, to compare; may repeat.")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="Address of a server that runs, instead of starting one.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0: any free one.")] = 8000,
    browser: Annotated[bool, typer.Option("--open/--no-open", help="Open it in a browser.")] = True,
) -> None:
    """Write, chat, compare models and look at their tokens, in a browser.

    It is `minigpt serve --ui --open`. With --server it is the page alone, for a server that runs
    elsewhere; if that wants a key, put yours into MINIGPT_API_KEY.

    Examples: minigpt ui · minigpt ui 3 --also 2 · minigpt ui --server http://127.0.0.1:8000
    """
    if server is not None:
        if ref != "champion" or also:
            raise ParamsError("--server: that server says what it serves; leave REF and --also out")
        show(server, port, browser)
        return
    from minigpt.cli.serve import serve

    serve(ref, also=also, port=port, ui=True, browser=browser)


def show(address: str, port: int, browser: bool) -> None:
    """The page alone, in front of a server that runs.

    Raises:
        MiniGPTError: it does not, or wants another key, or `address` is none.
    """
    url = address_of(address)
    key = os.environ.get(KEY)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        from minigpt.ui import alone, client
    except ImportError as error:
        raise MissingExtraError(
            f"the page is not installed ({error.name} is missing). Run: python bootstrap.py setup"
        ) from error
    from minigpt.cli.serve import open_page
    from minigpt.serving.server import listen, url_of

    try:
        models = client.Server(url, headers).models()
    except client.ServerError as error:
        if error.status != UNAUTHORIZED:
            raise
        raise ParamsError(f"{url}: {error}. Put yours into {KEY}") from error
    bound = listen("127.0.0.1", port)
    tell(f"{url} serves {', '.join(models) or 'no model'}")
    tell(f"  page      {url_of(bound)}")

    def ready() -> None:
        tell("ready · Ctrl-C ends")
        if browser:
            open_page(url_of(bound))

    alone.serve(bound, url, headers, ready)
    talk("ended")


def address_of(address: str) -> str:
    """Scheme, host and port of a server.

    Raises:
        ParamsError: it is no address of one.
    """
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        fits = False
    if not fits or parts.username is not None:
        raise ParamsError(
            f"--server {address}: no address of a server; expected one such as http://127.0.0.1:8000"
        )
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/v1')}"
