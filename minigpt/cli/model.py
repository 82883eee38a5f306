"""The model that a command runs, and Ctrl-C while it writes."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from minigpt.cli.completion import known_models
from minigpt.cli.shared import project_registry, project_root

if TYPE_CHECKING:
    from minigpt.generation.model_files import ModelFiles
    from minigpt.generation.models import Model

INTERRUPTED = 130
"""Exit code of what Ctrl-C ended, as of every program."""
Reference = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="A folder, champion, 3, minigpt@champion …",
        autocompletion=known_models,
    ),
]  # fmt: skip
Engine = Annotated[
    str, typer.Option(help="What computes: auto, onnx-int8, onnx, onnx-int4 or torch.")
]


def find_files(reference: str, engine: str) -> "ModelFiles":
    """The files of what a person means by `reference`.

    Raises:
        MiniGPTError: there is no such model or engine, or a file was changed.
    """
    from minigpt.registry.registry import Registry
    from minigpt.registry.served import find_model, folder_of

    alone = folder_of(reference) is not None  # then no params.yaml is asked for a name
    registry = Registry(project_root(), "minigpt") if alone else project_registry()
    return find_model(registry, reference, engine)


def load_model(files: "ModelFiles", slots: int = 1) -> "Model":
    """Load it.

    Raises:
        MiniGPTError: the files are damaged.
    """
    from minigpt.generation.models import load
    from minigpt.machine import Machine

    return load(files, Machine.load(), slots=slots)


@contextlib.contextmanager
def interruptible(*, second_ends: bool = True) -> Iterator[Callable[[], bool]]:
    """A block in which Ctrl-C only asks for an end: the function tells whether it came.

    A second one ends the command where it is, if it may.
    """
    asked = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and second_ends:
            signal.default_int_handler(number, frame)
        asked = True

    with handled(note):
        yield lambda: asked


def ignore(number: int, frame: FrameType | None) -> None:
    """What to do about a Ctrl-C that there is nothing to stop by."""


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """A block in which Ctrl-C calls `handler`."""
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
