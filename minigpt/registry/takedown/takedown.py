"""Take a document out: what it concerns, and the one way that forgets it, a build without it.

Nothing is changed before everything is known. Then, in an order that leaves the safe side behind
where it is cut off: params.yaml excludes the text, the versions that learned from it are marked,
the pipeline is built, and what came of it is stated. Cut off anywhere, the same again goes on.
"""

import json
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from minigpt.data.checks import drop
from minigpt.data.config import Validation
from minigpt.data.document import DOCUMENTS, LICENCES, Document, read_documents
from minigpt.errors import ParamsError, StageError
from minigpt.process import tied, workspace_lock
from minigpt.registry.lineage.index import file_of
from minigpt.registry.lineage.lineage import (
    HELD_OUT,
    Holding,
    Trace,
    Wanted,
    texts_of,
    trace,
    wanted_by,
)
from minigpt.registry.takedown.exclude import exclude, excluded
from minigpt.registry.takedown.mark import mark
from minigpt.registry.takedown.near import Near, near_duplicates
from minigpt.registry.takedown.statement import Statement, state
from minigpt.registry.versions import Version, champion_of, list_versions, names_in
from minigpt.release.manifest import manifest_digest
from minigpt.tracking.store import Store, is_new, open_store, refuse_unwritable

RAW = Path("data/raw")
MANIFEST = Path("release/manifest.json")
FLOW = "pipelines.run"
NAMED = 3  # texts at the path of a file that is gone


@dataclass(frozen=True)
class Takedown:
    """What a takedown concerns."""

    asked: str
    """As a person typed it."""
    documents: tuple[Document, ...]
    """The texts to take out, each once; of one that only a version knows the text is empty."""
    near: tuple[Near, ...]
    """Others in data/raw that repeat a large part of one of them; they are not among them."""
    exclude: tuple[str, ...]
    """Digests that params.yaml does not name yet."""
    trained: tuple[tuple[Version, tuple[Holding, ...]], ...]
    """Versions of any name that learned from them."""
    held_out: tuple[tuple[Version, tuple[Holding, ...]], ...]
    """Versions that only held them out."""
    namesakes: tuple[Holding, ...]
    """Where nothing was found: other texts that lay at the same path."""
    wanted: Wanted
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
    root: Path, name: str, what: str, validation: Validation, include_near: bool = False
) -> Takedown:
    """What taking out `what` (a file, a folder or a digest) concerns; changes nothing.

    Raises:
        ParamsError: `what` is neither or a file that is gone, its first digits fit several, or
            without it the documents would fail what params.yaml asks of them.
        DataError: the file cannot be read.
        RegistryError: the store cannot be read.
    """
    wanted = wanted_by(root, what)
    raw = read_documents(root / RAW) if (root / RAW / DOCUMENTS).is_file() else []
    found = _in_raw(root, raw, wanted)
    traces = {each: trace(root, each, wanted) for each in _names(root, name)}
    holdings = [h for each in traces.values() for h in each.holdings]
    _refuse_gone(what, wanted, traces.values())
    _refuse_ambiguous(what, wanted, found, holdings)

    texts = {d.sha256: d.text for d in found} | _texts_of_file(what)
    known = {d.sha256: d for d in [*(_unread(h, texts) for h in holdings), *found]}
    others = [d for d in raw if d.sha256 not in known]
    searched = [d.text for d in known.values() if d.text] or list(texts.values())
    near = near_duplicates(searched, others)
    if include_near:
        known |= {each.document.sha256: each.document for each in near}
        repeated = Wanted(frozenset(each.document.sha256 for each in near))
        more = {each: trace(root, each, repeated) for each in traces} if near else {}
        holdings += [h for each in more.values() for h in each.holdings]
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
        namesakes=tuple(h for each in traces.values() for h in each.namesakes),
        wanted=wanted,
        unknown=tuple(v for each in traces.values() for v in each.unknown),
        looked=bool(raw),
    )


def carry_out(
    root: Path,
    name: str,
    takedown: Takedown,
    reason: str,
    wait: bool = False,
    build: Callable[[Path, bool], int] | None = None,
) -> Statement:
    """Exclude, mark, build without it, state what came of it. The same again goes on or repeats.

    A version that was registered since `plan` looked, by a run that was waited for, is found too.
    `build` brings the checkout up to date and registers it; it returns an exit code.

    Raises:
        StageError: the build failed. The text stays excluded and the versions stay marked.
        RegistryError: the store cannot be written.
        BusyError: another process works in this checkout, and `wait` is False.
    """
    with workspace_lock(root, wait=wait):
        store = None if is_new(root) else open_store(root)
        if store is not None:
            refuse_unwritable(store)
            takedown = _looked_again(root, name, takedown)
        exclude(root, takedown.exclude)
        before = None
        if store is not None:
            before = _before(store, name, takedown)
            for version, holdings in takedown.trained:
                mark(store, version, holdings, reason, takedown.files)
        code = (build or release)(root, wait)
        if code:
            raise StageError(
                f"{name}: the build without it failed (exit {code}; its own message is above). "
                "params.yaml excludes the text, and the versions that learned from it are marked; "
                "no version has it replaced. Mend that, then run the same command"
            )
        identity = manifest_digest(root / MANIFEST)
        new = next(v for v in list_versions(root, name) if v.digest == identity)
        return state(root, open_store(root), new, before, takedown, reason)


def release(root: Path, wait: bool = False) -> int:
    """Run the flow that builds, registers and asks the gate; what it prints goes to stderr."""
    command = [sys.executable, "-m", FLOW, *(["--wait"] if wait else [])]
    with tied(command, root, stdout=2) as process:
        return process.wait()


def _names(root: Path, name: str) -> list[str]:
    """This project's registered name, and every other that the store holds."""
    if is_new(root):
        return [name]
    return [name, *(each for each in names_in(open_store(root)) if each != name)]


def _looked_again(root: Path, name: str, takedown: Takedown) -> Takedown:
    """With the versions that the store holds now."""
    traces = [trace(root, each, takedown.wanted) for each in _names(root, name)]
    holdings = [h for each in traces for h in each.holdings]
    known = {d.sha256: d for d in [*(_unread(h, {}) for h in holdings), *takedown.documents]}
    return replace(
        takedown,
        documents=tuple(sorted(known.values(), key=lambda d: d.doc_id)),
        exclude=_missing(root, known.values(), takedown.wanted),
        trained=_by_version(h for h in holdings if h.split not in HELD_OUT),
        held_out=_held_out(holdings),
        unknown=tuple(v for each in traces for v in each.unknown),
    )


def _in_raw(root: Path, raw: Iterable[Document], wanted: Wanted) -> list[Document]:
    try:
        licences = json.loads((root / RAW / LICENCES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        licences = {}
    archives = {name: str(about.get("sha256", "")) for name, about in licences.items()}
    return [
        d for d in raw if any(map(wanted.has, (d.sha256, file_of(d), archives.get(d.source, ""))))
    ]


def _refuse_gone(what: str, wanted: Wanted, traces: Iterable[Trace]) -> None:
    """Of a file that is gone nobody can say that it was never seen, or that another one was."""
    if not wanted.gone:
        return
    found = [h for each in traces for h in each.namesakes]
    had = [
        f"{h.version.name} {h.version.version} had {h.doc_id} ({h.split}, sha256 {h.sha256})"
        for h in found[:NAMED]
    ]
    asked = sorted({h.asked_by for h in found})[:NAMED]
    commands = " or ".join(f"minigpt takedown {digest}" for digest in asked)
    raise ParamsError(
        f"{what}: that file is not here, so its text is not known. "
        + (f"At that path {'; '.join(had)}. Run: {commands}" if had else
           "No version had a text at that path. Put the file back, or give its sha256")
    )  # fmt: skip


def _refuse_ambiguous(
    what: str, wanted: Wanted, found: Sequence[Document], holdings: Sequence[Holding]
) -> None:
    """A few digits may be those of two texts, and the wrong one would be taken out."""
    short = [digest for digest in wanted.digests if len(digest) < 64]
    digests = {d.sha256 for d in found} | {h.sha256 for h in holdings}
    texts = {digest for digest in digests if digest.startswith(tuple(short))}
    if short and len(texts) > 1:
        raise ParamsError(
            f"{what}: these digits begin the sha256 of {len(texts)} texts "
            f"({', '.join(sorted(texts)[:3])}); give more of them"
        )


def _texts_of_file(what: str) -> dict[str, str]:
    path = Path(what).expanduser()
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


def _missing(root: Path, documents: Collection[Document], wanted: Wanted) -> tuple[str, ...]:
    """What params.yaml must exclude, and does not yet.

    Each text's own digest, and that of every file that was asked for: it goes on excluding where
    the text is cut elsewhere another time. An archive's stands for all the texts in it.
    """
    texts = {d.sha256 for d in documents if wanted.has(d.sha256) or not wanted.has(file_of(d))}
    kept = excluded(root)
    names = sorted(texts | _files(documents, wanted))
    return tuple(name for name in names if not any(name.startswith(digest) for digest in kept))


def _files(documents: Iterable[Document], wanted: Wanted) -> frozenset[str]:
    """Where neither text nor file was asked for, the archive of a local folder was: all of it."""
    asked = (d for d in documents if wanted.has(file_of(d)) or not wanted.has(d.sha256))
    return frozenset(map(file_of, asked)) - {""}


def _refuse_impossible(
    raw: Sequence[Document], validation: Validation, missing: Sequence[str]
) -> None:
    """What would stop the build at its second stage is said before anything was changed."""
    from minigpt.data.expectations import evaluate
    from minigpt.data.validation import found

    without = validation.replace(exclude=(*validation.exclude, *missing))
    columns = list(Document.__dataclass_fields__)
    for result in evaluate(columns, drop(raw, without)[0], without):
        if not result.success and not result.failing:
            raise ParamsError(
                f'without it the documents fail "{result.name}": {found(result)}. Nothing was '
                "changed. Allow that (params.yaml: validate, sources), then run the same command"
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


def _before(store: Store, name: str, takedown: Takedown) -> Version | None:
    """The version to hold the new one against: champion if it learned from it, else the newest."""
    found = [version for version, _ in takedown.trained if version.name == name]
    champion = champion_of(store, name)
    best = next((v for v in found if champion and v.version == champion.version), None)
    return best or (found[-1] if found else None)
