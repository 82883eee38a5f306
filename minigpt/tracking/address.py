"""What MLFLOW_TRACKING_URI may name."""

import os
import re
from urllib.parse import urlsplit

from minigpt.errors import RegistryError

IN_MEMORY = ("sqlite:", "sqlite:///:memory:")
STORE = re.compile(r"sqlite(\+\w+)?:///.|(?!(?i:sqlite|file)\b)[\w+.-]+://.|databricks|arn:")
"""How the address of a store begins."""


def refuse_address(chosen: str) -> None:
    """Refuse what is no address, and stores in memory or of a kind that MLflow no longer keeps.

    Raises:
        RegistryError: it is one of these.
    """
    try:
        scheme = urlsplit(chosen).scheme
    except ValueError as error:
        raise RegistryError(f"MLFLOW_TRACKING_URI is no address: {error}") from error
    why = None
    if scheme == "sqlite" and (chosen.split("?")[0].rstrip("/") in IN_MEMORY or "?" in chosen):
        why = "names no file alone, so what is registered would not be found again"
    elif scheme in ("", "file") and chosen != "databricks":
        if not allows_folders():
            why = "is a folder or a file, which MLflow no longer takes for a store"
    elif not STORE.match(chosen):
        why = "is no address of a store"
    if why:
        raise RegistryError(
            f"MLFLOW_TRACKING_URI={shown(chosen)} {why}. Write sqlite:////elsewhere/mlflow.db or "
            "http://server:5000, or unset it: then it is the mlflow.db of the project"
        )


def allows_folders() -> bool:
    """Whether a person asked MLflow for its old stores, which are folders."""
    return os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")


def shown(uri: str) -> str:
    """A store's address for people and logs: without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in uri else uri
