"""All that the registry knows about where one version comes from, and what became of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from minigpt.digest import text_digest
from minigpt.errors import RegistryError
from minigpt.evaluation.bootstrap import Interval, bits_per_byte
from minigpt.registry.artifacts import (
    FROM_COPY,
    PATCH,
    find_artifact,
    json_object,
    read_artifact,
)
from minigpt.registry.lineage.index import index_of
from minigpt.registry.lineage.record import Record, read_record
from minigpt.registry.promotion.audit_log import Event, read_all
from minigpt.registry.promotion.evaluation_set import read_evaluation_set
from minigpt.registry.promotion.history import MOVES, difference
from minigpt.registry.promotion.scores import results_of
from minigpt.registry.provenance.provenance import signer
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.versions import CHAMPION, Version, version_of
from minigpt.roles import final_model, main_first, main_role
from minigpt.tracking.address import shown
from minigpt.tracking.environment import distributions


@dataclass(frozen=True)
class Judgement:
    """How a version did on the test works of one source."""

    source: str
    role: str
    bits_per_byte: float
    interval: Interval | None
    """Over its passages; None where the version does not hold them."""


@dataclass(frozen=True)
class Beaten:
    """The champion that a version replaced."""

    version: str
    by: float | None
    """Bits per byte on the same test works; None where they are others."""


@dataclass(frozen=True)
class Overview:
    """One version, from its sources to its proof."""

    version: Version
    record: Record
    since: datetime | None
    """When it became champion, if it is and the log knows."""
    judged: tuple[Judgement, ...]
    """Its model; sources of what it is for first."""
    beaten: Beaten | None
    verified: Mapping[str, Any] | None
    """at, verdict: of the last rebuild without a difference."""
    signed_by: str | None
    taken_down: Mapping[str, Any] | None
    """documents, reason, at: what it learned from and should not have."""
    runs_at: str | None
    """What a run's id is put behind to see it in a browser; None where the store is no server."""
    packages_here: str
    """sha256 of the packages installed here, as a stage's run records its own."""
    patch: str | None
    """Where source.patch lies; None where the tree was as the commit has it, or it is gone."""


def overview(registry: Registry, ref: str) -> Overview:
    """What is known about the version that `ref` names, or whose package lies in the folder `ref`.

    Raises:
        RegistryError: there is no such version, or the store cannot be read.
    """
    version = find_version(registry, ref)
    events = read_all(registry, version.name)[0]
    moves = [
        event
        for event in events
        if event.kind in MOVES
        and (event.version, event.manifest) == (version.version, version.digest)
    ]
    return Overview(
        version=version,
        record=read_record(registry, version),
        since=_since(version, events, moves),
        judged=_judged(registry, version),
        beaten=_beaten(registry, version, moves),
        verified=_told(version.verified),
        signed_by=signer(registry, version),
        taken_down=_told(version.taken_down),
        runs_at=runs_at(registry),
        packages_here=text_digest(distributions()),
        patch=_patch_place(registry, version),
    )


def patch_of(registry: Registry, ref: str) -> bytes:
    """By what the tree differed from the commit of the version that `ref` names; b"": by nothing.

    Raises:
        RegistryError: the patch is gone, or there is no such version.
    """
    version = find_version(registry, ref)
    patch = read_artifact(registry, version, PATCH)
    if patch is None and version.dirty:
        raise RegistryError(
            f"{version.name} {version.version} has no {PATCH}: it is gone. {FROM_COPY}"
        )
    return patch or b""


def runs_at(registry: Registry) -> str | None:
    """What a run's id is put behind to see it in a browser; None where the store is no server."""
    if not registry.store.uri.startswith(("http://", "https://")):
        return None
    server = shown(registry.store.uri).rstrip("/")
    return f"{server}/#/experiments/{registry.store.experiment_id}/runs/"


def _patch_place(registry: Registry, version: Version) -> str | None:
    if not version.dirty:
        return None
    with TemporaryDirectory() as folder:
        path = find_artifact(registry, version, PATCH, Path(folder))
    if path is None:
        return None
    fetched = path.is_relative_to(folder)  # from a server: as MLflow's own commands take it
    return f"runs:/{version.run_id}/{PATCH}" if fetched else str(path)


def _since(version: Version, events: list[Event], moves: list[Event]) -> datetime | None:
    if CHAMPION not in version.aliases or difference(version, events) is not None:
        return None  # an earlier time as champion is not this one
    return datetime.fromisoformat(moves[-1].at)


def _judged(registry: Registry, version: Version) -> tuple[Judgement, ...]:
    try:
        evaluation = results_of(registry, version, "evaluate")
    except RegistryError:  # damaged: `minigpt verify --from-cache` says so, and the gate
        return ()
    roles = {source: about["role"] for source, about in evaluation.get("test", {}).items()}
    passages = _passages(registry, version)
    judgements = []
    for source in main_first(roles):
        if figures := evaluation.get(final_model(evaluation), {}).get(source):
            sizes, bits = zip(*passages.get(source, [(0, 0.0)]), strict=True)
            interval = bits_per_byte(bits, sizes) if sum(sizes) else None
            judgements.append(Judgement(source, roles[source], figures["bits_per_byte"], interval))
    return tuple(judgements)


def _passages(registry: Registry, version: Version) -> dict[str, list[tuple[int, float]]]:
    """Source -> bytes and bits of each passage; nothing where the version does not hold them."""
    by_source: dict[str, list[tuple[int, float]]] = {}
    try:
        frozen = read_evaluation_set(registry, version)
    except RegistryError:  # damaged: `minigpt verify --from-cache` says so, and the gate
        frozen = None
    for (source, _, _), passage in frozen.passages("finetuned").items() if frozen else ():
        by_source.setdefault(source, []).append(passage)
    return by_source


def _beaten(registry: Registry, version: Version, moves: list[Event]) -> Beaten | None:
    before = next((e.before for e in reversed(moves) if e.kind == "promoted" and e.before), None)
    if before is None:
        return None
    other = version_of(registry, version.name, before)
    if other is None or version.bits_per_byte is None or other.bits_per_byte is None:
        return Beaten(before, None)
    if _tests(registry, version) != _tests(registry, other):
        return Beaten(before, None)
    return Beaten(before, other.bits_per_byte - version.bits_per_byte)


def _tests(registry: Registry, version: Version) -> set[str] | None:
    """The digests of the test documents that the main figure is taken on."""
    documents = index_of(registry, version)
    if documents is None:
        return None
    main = main_role(d.role for d in documents)
    return {d.sha256 for d in documents if (d.role, d.split) == (main.name, "test")}


def _told(tag: str | None) -> Mapping[str, Any] | None:
    return None if tag is None else json_object(tag.encode())
