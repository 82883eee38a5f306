"""Optional dependencies: imported where they are used, with a message that says how to get them."""

import importlib
from types import ModuleType

from minigpt.errors import MissingExtraError


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or say which extra of minigpt brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{module} is not installed. Run: pip install 'minigpt[{extra}]'"
        ) from error
