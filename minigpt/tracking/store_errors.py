"""What MLflow, a database or a server raises, as one line of ours that names the store."""

import contextlib
import re
import sqlite3
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from minigpt.errors import RegistryError
from minigpt.tracking.address import shown

if TYPE_CHECKING:
    from mlflow.exceptions import MlflowException

NO_ROOM = ("database or disk is full", "disk I/O error", "No space left", "Disk quota exceeded")
"""What sqlite, a server's database and the system say."""


@contextlib.contextmanager
def clear_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow or sqlite raises into one line of ours that names the store."""
    try:
        yield
    except store_errors() as error:
        if "Read timed out" in str(error):
            raise RegistryError(
                f"{shown(uri)} takes a request and does not answer it. Start that server anew, or "
                "unset MLFLOW_TRACKING_URI. If it is slow: MLFLOW_HTTP_REQUEST_TIMEOUT=120"
            ) from error
        if _is_unreachable(error):
            raise RegistryError(
                f"{shown(uri)} cannot be reached. Start that server, or unset MLFLOW_TRACKING_URI."
            ) from error
        if any(words in str(error) for words in NO_ROOM):
            raise RegistryError(
                f"{shown(uri)}: no room is left on its disk; nothing was lost. Make room, then run "
                "the same command"
            ) from error
        if "out-of-date database schema" in str(error):
            raise RegistryError(_other_tables(uri, str(error))) from error
        reason = (str(error).strip() or type(error).__name__).replace(uri.rstrip("/"), shown(uri))
        raise RegistryError(f"{shown(uri)}: {' '.join(reason.split())[:500]}") from error
    except ValueError as error:
        if "Failed to convert" not in str(error):  # MLflow's, of a setting MLFLOW_…
            raise
        raise RegistryError(f"{error}. Unset it, or set it to what it may be") from error


def store_errors() -> tuple[type[Exception], ...]:
    """Whatever a store raises, for an `except` clause.

    A database's driver may not be there, its texts may be damaged.
    """
    other_json = sys.modules.get("google.protobuf.json_format")  # an answer that is not MLflow's
    parsing = (other_json.ParseError,) if other_json else ()
    return OSError, ImportError, UnicodeDecodeError, sqlite3.Error, *mlflow_errors(), *parsing


def mlflow_errors() -> "tuple[type[MlflowException], ...]":
    """What MLflow raises, for an `except` clause; nothing while it is not imported."""
    module = sys.modules.get("mlflow.exceptions")
    return (module.MlflowException,) if module else ()


def _other_tables(uri: str, said: str) -> str:
    """What to say of a store that another MLflow made: its own word is for older ones only."""
    found = re.search(r"found version (\w+)", said)
    return (
        f"{shown(uri)}: its tables are of another MLflow ({found[1] if found else 'unknown'}). "
        f"If that was an older one, copy the store, then: mlflow db upgrade '{shown(uri)}'. "
        "If it was a newer one, install that, or name another store: MLFLOW_TRACKING_URI"
    )


def _is_unreachable(error: Exception) -> bool:
    """Whether what MLflow raised means that no server answers; one that answers 500 does."""
    said = str(error)
    gave_up = "Max retries" in said and "error responses" not in said
    return "Connection refused" in said or gave_up
