"""Remove old versions, so that the store does not grow for ever: which may go, and how.

A version goes in an order in which the same command finishes what was cut off: its line in the log,
a note of what its files are, the version, the files, and that they are gone.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from minigpt.errors import RegistryError
from minigpt.registry.artifacts import FILES, STORED, read_artifact
from minigpt.registry.mutex import Lease, only_changer
from minigpt.registry.promotion.audit_log import AuditLog, Kind
from minigpt.registry.promotion.history import MOVES
from minigpt.registry.pruned import Pruned, note_pruned, pruned_in
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version, list_everything
from minigpt.release.manifest import FileList
from minigpt.tracking.store import artifacts_of, database_of, refuse_unwritable
from minigpt.tracking.store_errors import clear_errors, mlflow_errors

KIND: Kind = "pruned"
MODEL_ID = re.compile(r"/models/([^/]+)/artifacts/?$")  # where MLflow puts a logged model


@dataclass(frozen=True)
class Prunable:
    """A version that may go."""

    version: Version
    run: str
    """Whose files are its own; empty where another version has them too."""
    model: str
    """Its logged model; empty where another version has it too."""
    bytes: int
    """What goes with it; of a server's the files that its manifest lists."""


@dataclass(frozen=True)
class Pruning:
    """Which versions go, and which stay."""

    keep: int
    remove: tuple[Prunable, ...]
    """Oldest first."""
    stay: tuple[tuple[Version, str], ...]
    """Each with the reason."""
    unfinished: tuple[str, ...]
    """Numbers of versions that are gone and whose files an earlier prune left behind."""
    unfinished_bytes: int = 0
    left_to_server: tuple[tuple[str, str], ...] = ()
    """(run, logged model) of those whose files only the server's own `mlflow gc` removes."""

    @property
    def bytes(self) -> int:
        """What is freed in all."""
        return self.unfinished_bytes + sum(prunable.bytes for prunable in self.remove)


def plan_pruning(registry: Registry, keep: int) -> Pruning:
    """What keeping the newest `keep` versions of the project's model would remove.

    Champion, challenger, every version that ever was champion, by the log, and every one that was
    taken down stay too.

    Raises:
        RegistryError: the store cannot be read, or the log is not whole.
    """
    if registry.is_new:
        return Pruning(keep, (), (), ())
    return _plan(registry, keep, AuditLog(registry, registry.name))


def prune(registry: Registry, keep: int) -> Pruning:
    """Do it, and finish what was cut off. Returns what was removed.

    Raises:
        RegistryError: the store or a file cannot be read or written, or the log is not whole.
    """
    if registry.is_new:
        return Pruning(keep, (), (), ())
    refuse_unwritable(registry.store)
    name, served = registry.name, database_of(registry.store.uri) is None
    with only_changer(registry, name) as lease:
        audit = AuditLog(registry, name)
        pruning = _plan(registry, keep, audit)
        notes = pruned_in(registry, name)
        left = [_free(registry, number, notes[number]) for number in pruning.unfinished]
        left += [_remove(registry, audit, prunable, keep, lease) for prunable in pruning.remove]
    return Pruning(
        keep,
        pruning.remove,
        pruning.stay,
        pruning.unfinished,
        pruning.unfinished_bytes,
        tuple(left) if served else (),
    )


def _plan(registry: Registry, keep: int, audit: AuditLog) -> Pruning:
    if audit.problems:
        raise RegistryError(
            f"the log of {registry.name} is not whole ({'; '.join(audit.problems)}), so nobody can "
            "tell which versions were champion. Nothing was changed. See: minigpt registry log"
        )
    everything = list_everything(registry)
    versions = everything.get(registry.name, [])
    newest = {version.version for version in versions[-keep:]}
    moves = [event for event in audit.events if event.kind in MOVES]
    champions = {number for event in moves for number in (event.version, event.before)}
    taken_down = {event.version for event in audit.events if event.kind == "taken down"}
    remove, stay = [], []
    for version in versions:
        reasons = [
            *version.aliases,
            *(["was champion"] if version.version in champions else []),
            *(["taken down"] if version.taken_down or version.version in taken_down else []),
            *([f"one of the newest {keep}"] if version.version in newest else []),
        ]
        if reasons:
            stay.append((version, reasons[0]))
        else:
            others = [v for named in everything.values() for v in named if v != version]
            remove.append(_prunable(registry, version, others))
    unfinished = {n: p for n, p in pruned_in(registry, registry.name).items() if not p.freed}
    gone = {n: p for n, p in unfinished.items() if n not in {v.version for v in versions}}
    size = sum(_size(folder) for p in gone.values() for folder in _folders(registry, p))
    return Pruning(keep, tuple(remove), tuple(stay), tuple(gone), size)


def _prunable(registry: Registry, version: Version, others: list[Version]) -> Prunable:
    copy = f"models:/{version.name}/{version.version}"
    shared_run = any(v.run_id == version.run_id for v in others)
    shared_model = any(v.source in (version.source, copy) for v in others)
    model = MODEL_ID.search(version.source)
    run = "" if shared_run else version.run_id
    files = Pruned(run=run, model=model[1] if model and not shared_model else "")
    if database_of(registry.store.uri) is None:
        size = _listed_size(read_artifact(registry, version, FILES)) if run else 0
    else:
        size = sum(map(_size, _folders(registry, files)))
    return Prunable(version, files.run, files.model, size)


def _listed_size(files: bytes | None) -> int:
    """Bytes of what a version holds, by its list of files; 0 where that is gone or damaged."""
    try:
        entries = FileList.model_validate_json(files or b"").files
    except ValidationError:
        return 0
    return sum(entry.size for entry in entries if entry.path.startswith(STORED))


def _remove(
    registry: Registry, audit: AuditLog, prunable: Prunable, keep: int, lease: Lease
) -> tuple[str, str]:
    """Log it, note what its files are, delete the version, free its files."""
    version = prunable.version
    lease.refuse_lost()
    event = next(
        (
            event
            for event in audit.events
            if (event.kind, event.version, event.manifest)
            == (KIND, version.version, version.digest)
        ),
        None,
    ) or audit.append(KIND, version=version, reason=f"not one of the newest {keep}")
    pruned = Pruned(
        at=event.at, by=event.by, digest=version.digest, run=prunable.run, model=prunable.model
    )
    note_pruned(registry, version.name, version.version, pruned)
    with clear_errors(registry.store.uri):
        registry.store.client.delete_model_version(version.name, version.version)
    return _free(registry, version.version, pruned)


def _free(registry: Registry, number: str, pruned: Pruned) -> tuple[str, str]:
    """Remove the files of a version that is deleted, and say so in what is left of it."""
    if database_of(registry.store.uri) is not None:
        for folder in _folders(registry, pruned):
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise RegistryError(
                    f"{error.filename or folder}: {error.strerror}; version {number} is deleted "
                    "and some of its files are left. Mend that, then run the same command again"
                ) from error
    copy = registry.root / ".cache" / "registry" / pruned.digest
    if pruned.digest:
        shutil.rmtree(copy, ignore_errors=True)  # fetched from a server
    client = registry.store.client
    with clear_errors(registry.store.uri):
        for delete, identity in (
            (client.delete_run, pruned.run),
            (client.delete_logged_model, pruned.model),
        ):
            try:
                if identity:
                    delete(identity)
            except mlflow_errors() as error:
                # Of a run that an earlier try deleted MLflow says that its state is another one.
                if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    raise
    note_pruned(registry, registry.name, number, pruned.replace(freed=True))
    return pruned.run, pruned.model


def _folders(registry: Registry, pruned: Pruned) -> Iterator[Path]:
    """The folders of a pruned version that are still there, in a store of this machine."""
    database = database_of(registry.store.uri)
    if database is None:
        return
    ours = artifacts_of(database)
    run = ours / pruned.run if pruned.run else None
    model = ours / "models" / pruned.model if pruned.model else None
    yield from (folder for folder in (run, model) if folder and folder.is_dir())


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
