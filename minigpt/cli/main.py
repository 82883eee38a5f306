"""`minigpt`: one command, one file a group of commands; heavy imports happen inside a command."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from minigpt import __version__, log
from minigpt.cli import (
    chat,
    compare,
    completion,
    generate,
    key,
    lineage,
    look,
    prune,
    serve,
    takedown,
    ui,
    verify,
    versions,
)
from minigpt.cli.shared import Commands, code_elsewhere, project_root
from minigpt.errors import MiniGPTError
from minigpt.process import quiet_environment

EPILOG = "Exit codes: 0 done, 1 failed, 2 bad input, 3 refused by the gate, 4 not all is here."

app = Commands(
    name="minigpt",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (
    generate, chat, serve, ui, look, lineage, verify, compare, takedown, key, prune, completion,
):  # fmt: skip
    group.add_to(app)
app.add_typer(versions.app, name="registry")


def show_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=show_version, help="The version.")
    ] = False,
) -> None:
    """A small GPT from raw text, with proof of where every byte came from.

    Examples: minigpt generate "My fellow citizens" · minigpt report · minigpt registry list
    """
    del version  # show_version has ended the command
    if debug:
        os.environ["MINIGPT_DEBUG"] = "1"
    if code := code_elsewhere(project_root()):
        log.say(f"runs the code of {code}, not of this folder. Run: make setup")


@contextlib.contextmanager
def here() -> Iterator[None]:
    """A block that works in the current folder.

    Raises:
        MiniGPTError: it was removed since the shell went there.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise MiniGPTError("the current folder is gone; cd to one that is there") from error
    yield


def run() -> None:
    """The command, as it was typed.

    Raises:
        BrokenPipeError: whoever reads stdout has left; Typer would end as a failure does.
    """
    stdout = sys.stdout
    try:
        app()
    except SystemExit:
        if sys.stdout is not stdout:  # Typer silences it then, and only then
            raise BrokenPipeError from None
        raise


def main() -> None:
    """The entry point: our errors become one line and an exit code."""
    log.prepare_streams()
    quiet_environment()
    log.set_name("minigpt")
    try:
        with log.refusals_told(), here(), log.reader_may_leave():
            run()
    except MiniGPTError as error:
        if os.environ.get("MINIGPT_DEBUG"):
            raise
        typer.echo(log.printable(str(error)), err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
