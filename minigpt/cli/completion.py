"""`minigpt completion`: what a shell needs to complete commands, options and versions."""

import contextlib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from minigpt.cli.shared import project_registry, project_root

if TYPE_CHECKING:
    from collections.abc import Iterator


class Shell(StrEnum):
    """Shells that are known."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def add_to(app: typer.Typer) -> None:
    """Hang the command of this file on `app`."""
    app.command()(completion)


def completion(
    shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish.")],
) -> None:
    """Print what makes Tab complete commands, options and models in a shell.

    Examples: eval "$(minigpt completion bash)" · minigpt completion fish | source
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    typer.echo(
        get_completion_script(
            prog_name="minigpt", complete_var="_MINIGPT_COMPLETE", shell=shell.value
        )
    )


def known_models(incomplete: str) -> list[str]:
    """What `--model` may be completed to; nothing where anything is wrong, or a server is asked."""
    names: list[str] = []
    with contextlib.suppress(Exception):  # a person presses Tab: no time, no place for a message
        names.extend(name for name in models_here() if name.startswith(incomplete))
    return names


def models_here() -> "Iterator[str]":
    """Aliases and numbers of the project's model, newest first, and packages in models/."""
    from minigpt.registry.versions import list_versions
    from minigpt.tracking.address import tracking_uri
    from minigpt.tracking.store import database_of

    root = project_root()
    if database_of(tracking_uri(root)) is not None:
        versions = list_versions(project_registry())[::-1]
        yield from (alias for version in versions for alias in version.aliases)
        yield from (version.version for version in versions)
    yield from sorted(
        str(folder.parent.relative_to(root)) for folder in root.glob("models/*/model.json")
    )
