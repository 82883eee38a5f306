"""Libraries imported where they are used; where one is missing, a message says how to get it."""

import importlib
import os
from types import ModuleType

from minigpt.errors import MissingExtraError


def require(module: str, extra: str | None = None) -> ModuleType:
    """Import `module`, which `extra` of minigpt brings; without one, minigpt itself.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        todo = f"pip install 'minigpt[{extra}]'" if extra else "python bootstrap.py setup"
        raise MissingExtraError(f"{error.name} is not installed. Run: {todo}") from error


def require_silent(module: str) -> ModuleType:
    """A module of onnxruntime, which reports each session to Microsoft unless told not to before.

    Told afterwards (`disable_telemetry_events`), it has left an identifier in the home folder.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return require(module)
