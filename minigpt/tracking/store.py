"""Where runs and versions are kept: MLflow's store in the checkout, or MLFLOW_TRACKING_URI.

It lies where MLflow looks by itself, so `mlflow ui` in the checkout needs no settings.
What only reads a sqlite store whose tables are known does without MLflow (docs/decisions/0021).
"""

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import url2pathname

from minigpt.errors import RegistryError
from minigpt.process import quiet_environment
from minigpt.tracking.address import SQLITE, shown, tracking_uri
from minigpt.tracking.client import Client
from minigpt.tracking.experiment import tags
from minigpt.tracking.reader import BUSY_SECONDS, Reader
from minigpt.tracking.silence import refuse_silent
from minigpt.tracking.store_errors import clear_errors, mlflow_errors

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "minigpt"
OPENING_SECONDS = 60.0

SETTINGS = {
    # Else a uv.lock in the working directory changes what a model is logged with.
    "MLFLOW_UV_AUTO_DETECT": "false",
    # MLflow's own 8 times 120 s block a command, or training, for a quarter of an hour; and a
    # server may ask for any pause between.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}


@dataclass(frozen=True)
class Store:
    """An opened store: every call names its run, so there is no global active run."""

    uri: str
    client: Client
    experiment_id: str


def database_of(uri: str) -> Path | None:
    """The file of a sqlite store; None for a server."""
    match = SQLITE.match(uri)
    return Path(uri[match.end() :]).resolve() if match else None


def described(root: Path) -> str:
    """The address of the store that is asked, for a person who may have mistyped it.

    Raises:
        RegistryError: MLFLOW_TRACKING_URI is no address of a store that lasts.
    """
    chosen = os.environ.get("MLFLOW_TRACKING_URI")
    return shown(tracking_uri(root)) + (
        " (MLFLOW_TRACKING_URI; no such file is there)" if chosen and is_new(root) else ""
    )


def artifacts_of(database: Path) -> Path:
    """The folder beside a sqlite store that holds its experiment's files."""
    return database.parent / "mlruns" / EXPERIMENT


def is_new(root: Path) -> bool:
    """Whether the store has yet to be made. Does not import mlflow."""
    database = database_of(tracking_uri(root))
    return database is not None and not database.exists()


def open_store(root: Path) -> Store:
    """Open the store of a checkout; make it if it is new. Safe from several processes at once.

    Raises:
        RegistryError: it cannot be opened, another process keeps it locked, or it was moved.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = tracking_uri(root)
    database = database_of(uri)
    if database is None:
        return _connect(uri, None)
    if database.exists():
        _check(database)
        if store := _readable(uri, database):
            return store
    with only_opener(database):
        if not database.exists():
            with clear_errors(uri):
                _import_mlflow()
                _make(database)
        return _readable(uri, database) or _connect(uri, database)


def refuse_unwritable(store: Store) -> None:
    """Refuse a change of a sqlite store that cannot be written; MLflow would say so in SQL.

    Raises:
        RegistryError: it is read-only, or another process keeps it locked.
    """
    database = database_of(store.uri)
    if database is None:
        return
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
            connection.execute("begin immediate")
            connection.rollback()
    except sqlite3.Error as error:
        locked = "locked" in str(error)
        todo = "close what holds it" if locked else "make it and its folder writable"
        raise RegistryError(
            f"{database}: {error}. Nothing was changed; {todo}, then try again"
        ) from error


def local_path(uri: str) -> Path | None:
    """The path that a `file:` URI or plain path names; None if it lies elsewhere."""
    if uri.startswith("file:"):
        return Path(url2pathname(uri.removeprefix("file:").removeprefix("//")))
    return None if "://" in uri or uri.startswith("mlflow-artifacts:") else Path(uri)


_importing = threading.Lock()  # two threads that import it at once see halves of its modules


def _import_mlflow() -> None:
    """Import mlflow (seconds), quiet and with telemetry off."""
    quiet_environment()
    with _importing:
        import mlflow

    if "%" in mlflow.__path__[0]:  # alembic takes it for a part of its configuration
        raise RegistryError(
            f"{mlflow.__path__[0]}: MLflow does not work in a path with %. Rename the folder"
        )
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It logs a traceback before it raises the same error.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    # It warns of environments without pip, which uv makes.
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)


@contextlib.contextmanager
def only_opener(database: Path) -> Iterator[None]:
    """Hold the lock under which a store is made, opened or moved: MLflow's migrations have none.

    Raises:
        RegistryError: another process keeps it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    folder = artifacts_of(database).parent
    lock = FileLock(folder / ".lock", timeout=OPENING_SECONDS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RegistryError(
            f"{database}: another process has been opening it for {OPENING_SECONDS:.0f} s "
            f"({folder / '.lock'})"
        ) from error
    except OSError as error:
        raise RegistryError(
            f"{error.filename or folder}: {error.strerror}; {database.name} is opened under a lock "
            "there. Make that folder writable, or name another store: MLFLOW_TRACKING_URI"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _make(database: Path) -> None:
    """Make a store under another name, then rename: a kill leaves none that is half-made."""
    from mlflow.entities import ExperimentTag
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    part = database.with_name(f"{database.name}.part")
    part.unlink(missing_ok=True)
    artifacts = artifacts_of(database)
    try:
        store = SqlAlchemyStore(f"sqlite:///{part.as_posix()}", artifacts.parent.as_uri())
        kind = [ExperimentTag(key, value) for key, value in tags().items()]
        store.create_experiment(EXPERIMENT, artifact_location=artifacts.as_uri(), tags=kind)
        store.engine.dispose()
    except (SQLAlchemyError, MlflowException, OSError) as error:
        part.unlink(missing_ok=True)
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise RegistryError(
            f"{database}: cannot be made: {reason}. Is the disk full, or the folder read-only?"
        ) from error
    part.replace(database)


def _check(database: Path) -> None:
    """Refuse a store that MLflow would retry for minutes or misread: locked, torn or moved."""
    if not database.is_file():
        raise RegistryError(
            f"{database}: unable to open it as a database: it is no file; make it a file that can "
            "be read and written, or name another store: MLFLOW_TRACKING_URI"
        )
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
            tables = {row[0] for row in connection.execute("select name from sqlite_master")}
            query = "select artifact_location from experiments where name = ?"
            row = connection.execute(query, [EXPERIMENT]).fetchone() if tables else None
    except sqlite3.OperationalError as error:
        locked = "locked" in str(error)
        todo = "close what holds it" if locked else "make it a file that can be read and written"
        raise RegistryError(f"{database}: {error}; {todo}, then try again") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise RegistryError(
            f"{database}: {error}. Move it away; `minigpt registry sync` fills a new one."
        ) from error
    made_in = local_path(row[0]) if row else None
    here = artifacts_of(database)
    if made_in and made_in != here and made_in.parts[-2:] == here.parts[-2:]:
        raise RegistryError(
            f"{database}: made in {made_in.parents[1]}, so the files it names are not found here. "
            "Run: minigpt registry relocate"
        )


def _readable(uri: str, database: Path) -> Store | None:
    """A store that is read without MLflow; None where its tables are not those that we know.

    It needs no lock: such a store is whole, and MLflow has nothing to change in it.
    """
    with clear_errors(uri):
        reader = Reader(database)
        # With workspaces every question of MLflow's is another one.
        if os.environ.get("MLFLOW_ENABLE_WORKSPACES") or not reader.knows():
            return None
        experiment = reader.get_experiment_by_name(EXPERIMENT)

    def connect() -> "MlflowClient":
        with only_opener(database):
            return _mlflow_client(uri)

    return Store(uri, Client(connect, reader), experiment.experiment_id) if experiment else None


def _mlflow_client(uri: str) -> "MlflowClient":
    _import_mlflow()
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.get_experiment_by_name(EXPERIMENT)  # it opens the store only when it is asked
    return client


def _connect(uri: str, database: Path | None) -> Store:
    """Open a store through MLflow; its experiment is made where it has none."""
    refuse_silent(shown(uri))
    with clear_errors(uri):
        client = _mlflow_client(uri)
        opened = Client(lambda: client)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            return Store(uri, opened, experiment.experiment_id)
        artifacts = artifacts_of(database).as_uri() if database else None
        try:
            return Store(uri, opened, client.create_experiment(EXPERIMENT, artifacts, tags()))
        except mlflow_errors() as error:
            # On a server another process may have been quicker.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None:
                raise
            return Store(uri, opened, experiment.experiment_id)
