"""Mend a sqlite store whose checkout was moved: it holds absolute locations of files."""

import contextlib
import sqlite3
from pathlib import Path

from minigpt.errors import RegistryError
from minigpt.tracking.address import shown, tracking_uri
from minigpt.tracking.reader import BUSY_SECONDS
from minigpt.tracking.store import (
    EXPERIMENT,
    artifacts_of,
    database_of,
    local_path,
    only_opener,
)

LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def relocate(root: Path) -> int:
    """Rewrite every location in the store from the old place to this one. Returns how many.

    Raises:
        RegistryError: the store is a server's, is missing or locked, or cannot be read.
    """
    uri = tracking_uri(root)
    database = database_of(uri)
    if database is None:
        raise RegistryError(f"{shown(uri)}: only a sqlite store holds places of this machine")
    if not database.exists():
        raise RegistryError(f"{uri}: there is no store yet. Run: make run")
    with only_opener(database):
        return _rewrite(database, artifacts_of(database).parent)


def _rewrite(database: Path, here: Path) -> int:
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
            query = "select artifact_location from experiments where name = ?"
            row = connection.execute(query, [EXPERIMENT]).fetchone()
            made_in = local_path(row[0]) if row else None
            if made_in is None or made_in.parent == here:
                return 0
            old = made_in.parent
            with connection:  # one transaction
                return sum(
                    connection.execute(
                        f"update {table} set {column} = ? || substr({column}, ?) "  # noqa: S608 - names are ours
                        f"where {column} = ? or substr({column}, 1, ?) = ?",
                        (new, len(before) + 1, before, len(before) + 1, f"{before}/"),
                    ).rowcount
                    for table, column in LOCATIONS
                    for before, new in ((old.as_uri(), here.as_uri()), (str(old), str(here)))
                )
    except sqlite3.DatabaseError as error:
        raise RegistryError(f"{database}: {error}") from error
