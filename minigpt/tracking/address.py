"""Which store keeps the runs of a checkout, and what MLFLOW_TRACKING_URI may name."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minigpt.errors import RegistryError

SQLITE = re.compile(r"sqlite(\+\w+)?:///")
"""How the address of a sqlite store begins, with or without the name of a driver."""
IN_MEMORY = ("sqlite:", "sqlite:///:memory:")
STORE = re.compile(r"sqlite(\+\w+)?:///.|(?!(?i:sqlite|file)\b)[\w+.-]+://.|databricks|arn:")
"""How the address of a store begins."""


SECRET = re.compile(r"(?i)([?&][^=&#]*(?:pass|pwd|token|secret|key)[^=&#]*=)[^&#]+")
"""A setting in an address that nobody is to see."""
OWN = ""
"""The name of the checkout's own store, wherever the checkout lies."""
NONE = "?"
"""The name of what is no store."""


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, else the checkout's own sqlite store.

    Raises:
        RegistryError: it is no address of a store that lasts, or the checkout's path reads as
            another one in an address.
    """
    if chosen := os.environ.get("MLFLOW_TRACKING_URI"):
        refuse_address(chosen)
        return chosen
    own = _own_database(root)
    if "?" in own or unquote(own) != own:
        raise RegistryError(
            f"{root.resolve()}: MLflow cannot keep a store in a folder with a question mark, or a "
            "percent sign before two digits, in its path. Rename the folder, or name a place: "
            "MLFLOW_TRACKING_URI=sqlite:////elsewhere/mlflow.db"
        )
    return f"sqlite:///{own}"


def store_name(root: Path) -> str:
    """What tells the store that the environment asks for from others: its address, no password."""
    try:
        uri = tracking_uri(root)
    except RegistryError:  # told by whoever opens it
        return NONE
    if match := SQLITE.match(uri):  # whichever link it is reached by
        uri = f"sqlite:///{Path(uri[match.end() :]).resolve().as_posix()}"
    return OWN if uri == f"sqlite:///{_own_database(root)}" else shown(uri).rstrip("/")


def of_store(file: str, store: str) -> str:
    """The name of a file that each store of a checkout has its own of."""
    if store == OWN:
        return file
    stem, dot, suffix = file.rpartition(".")
    return f"{stem}-{hashlib.sha256(store.encode()).hexdigest()[:8]}{dot}{suffix}"


def _own_database(root: Path) -> str:
    return (root.resolve() / "mlflow.db").as_posix()


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
    plain = re.sub(r"^sqlite\+\w+:", "sqlite:", chosen)
    alone = plain.split("?")[0].rstrip("/") not in IN_MEMORY and "?" not in plain
    if scheme.partition("+")[0] == "sqlite" and not alone:
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
    """A store's address for people, logs and journals: without user and password.

    Of a database as SQLAlchemy reads it (a password may hold / ? #), of a server as a URL.
    """
    scheme, mark, rest = uri.partition("://")
    if scheme.startswith("http"):
        rest = re.sub(r"^[^/?#]*@", "", rest)
    elif not scheme.startswith(("sqlite", "file")):
        rest = re.sub(r"^[^:/@]*(:[^@]*)?@", "", rest)
    return SECRET.sub(r"\1…", f"{scheme}{mark}{rest}")
