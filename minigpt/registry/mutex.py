"""One change of a registered name at a time, on any store: whoever creates a model holds the lock.

MLflow sets aliases without comparing: of two promotions at once both would report success.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from minigpt.digest import text_digest
from minigpt.errors import RegistryError
from minigpt.registry.registry import Registry
from minigpt.tracking.owner import has_died, this_process
from minigpt.tracking.store import clear_errors, mlflow_errors, refuse_unwritable

PREFIX = "lock."  # of the registered models that are locks
WAIT_SECONDS = 30.0


@contextlib.contextmanager
def only_changer(registry: Registry, name: str) -> Iterator[None]:
    """Hold the lock of `name` for the block. One whose holder died on this machine is broken.

    Raises:
        RegistryError: another process holds it, or the store cannot be written.
    """
    refuse_unwritable(registry.store)
    lock = f"{PREFIX}{name}.champion"
    deadline = time.monotonic() + WAIT_SECONDS
    while not _taken(registry, lock):
        holder = _holder(registry, lock)
        if holder and has_died(holder):
            _break(registry, lock)
        elif time.monotonic() > deadline:
            raise RegistryError(
                f"{name} is being changed by process {holder.get('pid', '?')} on "
                f"{holder.get('host', '?')} since {holder.get('since', '?')}. If that is no longer "
                f"so, delete the registered model {lock} in MLflow, then try again"
            )
        else:
            time.sleep(0.2)
    try:
        yield
    finally:
        with clear_errors(registry.store.uri):
            registry.store.client.delete_registered_model(lock)


def _taken(registry: Registry, lock: str) -> bool:
    with clear_errors(registry.store.uri):
        try:
            registry.store.client.create_registered_model(lock, tags=this_process())
        except mlflow_errors() as error:
            # It does not exist either where its holder lets go while MLflow looks for its name.
            if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
                raise
            return False
    return True


def _holder(registry: Registry, lock: str) -> Mapping[str, str]:
    """What the holder wrote; nothing if it has just let go."""
    with clear_errors(registry.store.uri):
        try:
            return dict(registry.store.client.get_registered_model(lock).tags)
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def _break(registry: Registry, lock: str) -> None:
    """Remove a dead holder's lock, once: a second breaker would remove its successor's."""
    from filelock import FileLock

    guard = (
        Path(tempfile.gettempdir()) / f"minigpt-{text_digest([registry.store.uri, lock])[:16]}.lock"
    )
    with FileLock(guard):
        holder = _holder(registry, lock)
        if holder and has_died(holder):
            with clear_errors(registry.store.uri):
                registry.store.client.delete_registered_model(lock)
