"""What a takedown concerns: texts, versions that learned from them, near-duplicates."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from minigpt.data.checks import drop
from minigpt.data.config import Validation
from minigpt.data.document import DOCUMENTS, Document, read_documents, read_licences
from minigpt.errors import ParamsError
from minigpt.files import at_home
from minigpt.registry.lineage.index import file_of
from minigpt.registry.lineage.trace import (
    HELD_OUT,
    Holding,
    TextQuery,
    Trace,
    query_for,
    texts_of,
    trace,
)
from minigpt.registry.registry import Registry
from minigpt.registry.takedown.exclude import excluded
from minigpt.registry.takedown.near_duplicates import NearDuplicate, near_duplicates
from minigpt.registry.versions import Version, list_everything

RAW = Path("data/raw")

NAMED = 3  # texts at the path of a file that is gone


@dataclass(frozen=True)
class Takedown:
    """What a takedown concerns."""

    asked: str
    """As a person typed it."""
    documents: tuple[Document, ...]
    """The texts to take out, each once; empty where only a version knows the text."""
    near: tuple[NearDuplicate, ...]
    """Others in data/raw that repeat a large part of one of them; they are not among them."""
    exclude: tuple[str, ...]
    """Digests that params.yaml does not name yet."""
    trained: tuple[tuple[Version, tuple[Holding, ...]], ...]
    """Versions of any name that learned from them."""
    held_out: tuple[tuple[Version, tuple[Holding, ...]], ...]
    """Versions that only held them out."""
    namesakes: tuple[Holding, ...]
    """Where nothing was found: other texts that lay at the same path."""
    wanted: TextQuery
    """What was looked for, and is looked for once more before anything is changed."""
    unknown: tuple[Version, ...]
    """Versions whose document index is gone."""
    looked: bool
    """data/raw is there, so that near-duplicates could be looked for."""

    @property
    def seen(self) -> bool:
        """Whether any version, or data/raw, has anything of it."""
        return bool(self.documents)

    @property
    def files(self) -> frozenset[str]:
        """Digests of the files and archives that were asked for as a whole, however cut."""
        return _files(self.documents, self.wanted)


def plan(
    registry: Registry, what: str, validation: Validation, include_near: bool = False
) -> Takedown:
    """What taking out `what` (a file, a folder or a digest) concerns; changes nothing.

    Raises:
        ParamsError: `what` is neither or a file that is gone, its first digits fit several, or
            without it the documents would fail what params.yaml asks of them.
        DataError: the file cannot be read, or what download wrote down of data/raw.
        RegistryError: the store cannot be read.
    """
    root = registry.root
    wanted = query_for(root, what)
    raw = read_documents(root / RAW) if (root / RAW / DOCUMENTS).is_file() else []
    in_raw = _in_raw(root, raw, wanted)
    versions = _versions(registry)
    traces = [trace(registry, wanted, named) for named in versions]
    holdings = [h for version_trace in traces for h in version_trace.holdings]
    _refuse_gone(what, wanted, traces)
    _refuse_ambiguous(what, wanted, in_raw, holdings)

    texts = {d.sha256: d.text for d in in_raw} | _texts_of_file(what)
    known = {d.sha256: d for d in [*(_unread(h, texts) for h in holdings), *in_raw]}
    others = [d for d in raw if d.sha256 not in known]
    searched = [d.text for d in known.values() if d.text] or list(texts.values())
    near = near_duplicates(searched, others)
    if include_near:
        known |= {duplicate.document.sha256: duplicate.document for duplicate in near}
        repeated = TextQuery(frozenset(duplicate.document.sha256 for duplicate in near))
        more = [trace(registry, repeated, named) for named in versions] if near else []
        holdings += [h for version_trace in more for h in version_trace.holdings]
        wanted = replace(wanted, digests=wanted.digests | repeated.digests)
    missing = _missing(root, known.values(), wanted)
    if missing and raw:
        _refuse_impossible(raw, validation, missing)
    return Takedown(
        asked=what,
        documents=tuple(sorted(known.values(), key=lambda d: d.doc_id)),
        near=() if include_near else tuple(near),
        exclude=missing,
        trained=_by_version(h for h in holdings if h.split not in HELD_OUT),
        held_out=_held_out(holdings),
        namesakes=tuple(h for version_trace in traces for h in version_trace.namesakes),
        wanted=wanted,
        unknown=tuple(v for version_trace in traces for v in version_trace.unknown),
        looked=bool(raw),
    )


def plan_again(registry: Registry, takedown: Takedown) -> Takedown:
    """The same with the versions that the store holds now.

    Raises:
        RegistryError: the store cannot be read.
    """
    traces = [trace(registry, takedown.wanted, named) for named in _versions(registry)]
    holdings = [h for version_trace in traces for h in version_trace.holdings]
    known = {d.sha256: d for d in [*(_unread(h, {}) for h in holdings), *takedown.documents]}
    return replace(
        takedown,
        documents=tuple(sorted(known.values(), key=lambda d: d.doc_id)),
        exclude=_missing(registry.root, known.values(), takedown.wanted),
        trained=_by_version(h for h in holdings if h.split not in HELD_OUT),
        held_out=_held_out(holdings),
        unknown=tuple(v for version_trace in traces for v in version_trace.unknown),
    )


def _versions(registry: Registry) -> list[list[Version]]:
    """Those of this project's name, and of every other that the store holds."""
    versions = list_everything(registry)
    return [versions.pop(registry.name, []), *versions.values()]


def _in_raw(root: Path, raw: Sequence[Document], wanted: TextQuery) -> list[Document]:
    """Those of data/raw that are asked for, by their own digest, their file's or their archive's.

    Raises:
        DataError: nobody can tell which archive a text came in.
    """
    licences = read_licences(root / RAW) if raw else {}
    archives = {name: str(about.get("sha256", "")) for name, about in licences.items()}
    return [
        d for d in raw if any(map(wanted.has, (d.sha256, file_of(d), archives.get(d.source, ""))))
    ]


def _refuse_gone(what: str, wanted: TextQuery, traces: Iterable[Trace]) -> None:
    """Nobody can say of a file that is gone whether any version saw it."""
    if not wanted.gone:
        return
    namesakes = [h for t in traces for h in t.namesakes]
    had = [
        f"{h.version.name} {h.version.version} had {h.doc_id} ({h.split}, sha256 {h.sha256})"
        for h in namesakes[:NAMED]
    ]
    asked = sorted({h.asked_by for h in namesakes})[:NAMED]
    commands = " or ".join(f"minigpt takedown {digest}" for digest in asked)
    raise ParamsError(
        f"{what}: that file is not here, so its text is not known. "
        + (f"At that path {'; '.join(had)}. Run: {commands}" if had else
           "No version had a text at that path. Put the file back, or give its sha256")
    )  # fmt: skip


def _refuse_ambiguous(
    what: str, wanted: TextQuery, documents: Sequence[Document], holdings: Sequence[Holding]
) -> None:
    """A few digits may be those of two texts, and the wrong one would be taken out."""
    short = [digest for digest in wanted.digests if len(digest) < 64]
    digests = {d.sha256 for d in documents} | {h.sha256 for h in holdings}
    texts = {digest for digest in digests if digest.startswith(tuple(short))}
    if short and len(texts) > 1:
        raise ParamsError(
            f"{what}: these digits begin the sha256 of {len(texts)} texts "
            f"({', '.join(sorted(texts)[:3])}); give more of them"
        )


def _texts_of_file(what: str) -> dict[str, str]:
    path = at_home(what)
    if not path.is_file():
        return {}
    return {sha256(text.encode()).hexdigest(): text for text in texts_of(path)}


def _unread(holding: Holding, texts: dict[str, str]) -> Document:
    """A document that a version knows; its text, if that is known."""
    source = holding.doc_id.partition("/")[0]
    return Document(
        doc_id=holding.doc_id, text=texts.get(holding.sha256, ""), source=source, role="", work="",
        lang="", licence="", split=holding.split, sha256=holding.sha256, origin=holding.file,
    )  # fmt: skip


def _missing(root: Path, documents: Collection[Document], wanted: TextQuery) -> tuple[str, ...]:
    """What params.yaml must exclude, and does not yet.

    Each text's own digest, and that of every file that was asked for: it goes on excluding where
    the text is cut elsewhere another time. An archive's stands for all the texts in it.
    """
    texts = {d.sha256 for d in documents if wanted.has(d.sha256) or not wanted.has(file_of(d))}
    already = excluded(root)
    names = sorted(texts | _files(documents, wanted))
    return tuple(name for name in names if not any(name.startswith(digest) for digest in already))


def _files(documents: Iterable[Document], wanted: TextQuery) -> frozenset[str]:
    """Where neither text nor file was asked for, the archive of a local folder was: all of it."""
    asked = (d for d in documents if wanted.has(file_of(d)) or not wanted.has(d.sha256))
    return frozenset(map(file_of, asked)) - {""}


def _refuse_impossible(
    raw: Sequence[Document], validation: Validation, missing: Sequence[str]
) -> None:
    """Refuse, before anything is changed, what would stop the build at its second stage."""
    from minigpt.data.expectations import evaluate, roles_asked
    from minigpt.data.validation import observation

    without = validation.replace(exclude=(*validation.exclude, *missing))
    columns = list(Document.__dataclass_fields__)
    kept = drop(raw, without)[0]
    for result in evaluate(columns, kept, without, roles_asked(raw)):
        if not result.success and not result.failing:
            raise ParamsError(
                f'without it the documents fail "{result.name}": {observation(result)}. Nothing '
                "was changed. Allow that (params.yaml: validate, sources), then run the same "
                "command"
            )


def _by_version(
    holdings: Iterable[Holding],
) -> tuple[tuple[Version, tuple[Holding, ...]], ...]:
    groups: dict[tuple[str, str], dict[str, Holding]] = {}
    for holding in holdings:
        group = groups.setdefault((holding.version.name, holding.version.version), {})
        group[holding.doc_id] = holding
    return tuple(
        (next(iter(group.values())).version, tuple(group.values())) for group in groups.values()
    )


def _held_out(holdings: Sequence[Holding]) -> tuple[tuple[Version, tuple[Holding, ...]], ...]:
    trained = {(h.version.name, h.version.version) for h in holdings if h.split not in HELD_OUT}
    return _by_version(h for h in holdings if (h.version.name, h.version.version) not in trained)
