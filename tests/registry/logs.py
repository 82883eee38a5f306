"""The log of a name, for tests that read one."""

import contextlib
import sqlite3

from minigpt.registry.promotion.audit_log import read_all
from minigpt.tracking import store as stores


def whole_log(registry, name="minigpt-test"):
    """Its events, oldest first; none of them was changed or is missing."""
    events, problems = read_all(registry, name)
    assert problems == []
    return events


def forget(registry, event):
    """As `mlflow gc` does."""
    with (
        contextlib.closing(sqlite3.connect(stores.database_of(registry.store.uri))) as connection,
        connection,
    ):
        for table in ("params", "tags", "runs"):
            connection.execute(f"delete from {table} where run_uuid = ?", [event.run_id])
