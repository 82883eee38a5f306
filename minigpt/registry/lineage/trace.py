"""Which versions learned from a text, which held it out, and which never saw it.

A text is known by digests: its own, that of the file it lay in and that of the archive it came in.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path, PurePosixPath

from minigpt.data.archives import is_archive
from minigpt.data.document import Document
from minigpt.data.readers import reader_of
from minigpt.data.sources import is_local
from minigpt.data.text import CLEANING, cut_tail, tidy
from minigpt.digest import file_digest, files_of
from minigpt.errors import DataError, ParamsError
from minigpt.files import at_home
from minigpt.graph import UNREADABLE
from minigpt.registry.lineage.index import file_of, index_of
from minigpt.registry.lineage.record import SourceRecord, read_sources
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version, list_everything, list_versions
from minigpt.yaml12 import read_yaml

DIGEST = re.compile(r"[0-9a-f]{8,64}")
HELD_OUT = ("val", "test")


@dataclass(frozen=True)
class Holding:
    """A document that a version was trained on, or held out."""

    version: Version
    split: str
    """train, val or test."""
    doc_id: str
    sha256: str
    """Of its text."""
    file: str = ""
    """sha256 of the file or archive it came in; empty where the index does not say."""

    @property
    def asked_by(self) -> str:
        """The digest to ask for it by: its file's stands for every part of a text that was cut."""
        return self.file or self.sha256


@dataclass(frozen=True)
class TextQuery:
    """What is looked for."""

    digests: frozenset[str] = frozenset()
    """Of texts, files or archives: whole, or their first 8 digits and more."""
    path: str | None = None
    """Where a local source may have had it, seen from the checkout: ../letters/a.txt lies beside
    it."""

    @property
    def gone(self) -> bool:
        """The file is not here, so nothing but its path is known."""
        return not self.digests

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple({len(digest) for digest in self.digests})

    def has(self, digest: str) -> bool:
        """Whether this digest, or its first digits, are looked for."""
        return any(digest[:length] in self.digests for length in self._lengths)


@dataclass(frozen=True)
class Trace:
    """Where a text was found."""

    holdings: tuple[Holding, ...] = ()
    """Oldest version first."""
    namesakes: tuple[Holding, ...] = ()
    """Texts that lay at the same path, where the text itself was not found: other ones, or it may
    be that one if the file is gone."""
    never: tuple[Version, ...] = ()
    """Versions that have no such document."""
    unknown: tuple[Version, ...] = ()
    """Versions whose index is gone."""
    gone: bool = False
    """The file is not here: nobody can tell which version has its text, or has not."""

    @property
    def trained(self) -> tuple[Version, ...]:
        """The versions that learned from it."""
        return _versions(h for h in self.holdings if h.split not in HELD_OUT)

    @property
    def held_out(self) -> tuple[Version, ...]:
        """The versions that held it, or a part of it, out."""
        return _versions(h for h in self.holdings if h.split in HELD_OUT)


def trace(
    registry: Registry, wanted: TextQuery, versions: Iterable[Version] | None = None
) -> Trace:
    """Look for a text in these versions, else in every one of the project's model.

    Raises:
        RegistryError: the store or the index of a version cannot be read.
    """
    holdings, namesakes, never, unknown = [], [], [], []
    for version in list_versions(registry) if versions is None else versions:
        documents = index_of(registry, version)
        if documents is None:
            unknown.append(version)
            continue
        matches = [_holding(version, d) for d in _matching(registry, version, documents, wanted)]
        if matches:
            holdings += matches
            continue
        if not wanted.gone:
            never.append(version)
        if wanted.path:
            sources = read_sources(registry, version)
            at_path = _at(documents, sources, wanted.path, registry.root)
            namesakes += [_holding(version, d) for d in at_path]
    return Trace(tuple(holdings), tuple(namesakes), tuple(never), tuple(unknown), wanted.gone)


def trace_everywhere(registry: Registry, wanted: TextQuery) -> dict[str, Trace]:
    """As `trace` of the project's model, then of the other registered names that have it.

    Raises:
        RegistryError: the store or the index of a version cannot be read.
    """
    versions = list_everything(registry)
    traces = {registry.name: trace(registry, wanted, versions.pop(registry.name, []))}
    for name in versions:
        elsewhere = trace(registry, wanted, versions[name])
        if elsewhere.holdings or elsewhere.namesakes:
            traces[name] = elsewhere
    return traces


def query_for(root: Path, what: str, here: Path | None = None) -> TextQuery:
    """What a person means: a file, a folder of files, or a digest.

    Only the path is known of a file or folder that is gone and may have lain in data/, or in a
    folder outside that a source reads.

    Raises:
        ParamsError: there is no such file, and it is no digest; or nothing is asked for.
        DataError: the file cannot be read.
    """
    if not what.strip():  # "$FILE" that is not set; a path of no parts is the current folder
        raise ParamsError("which text? Give a file, a folder (here: .) or a sha256, not nothing")
    path = ((here or Path.cwd()) / at_home(what)).absolute()
    if path.is_file():
        return TextQuery(frozenset(_digests(path)), _from(root, path))
    if path.is_dir():
        if root.resolve().is_relative_to(path.resolve()):
            raise ParamsError(
                f"{what}: that folder holds the whole project; name a file, or the folder of the "
                "texts, such as data/local/NAME"
            )
        try:
            files = files_of(path)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
        digests = frozenset(digest for file in files for digest in _digests(file))
        if not digests:
            raise ParamsError(f"{what}: the folder holds no file")
        return TextQuery(digests)
    if DIGEST.fullmatch(what.lower()):
        return by_digest(what)
    gone = _from(root, path)
    if not gone.startswith("data/") and not _is_linked(root, gone):
        raise ParamsError(
            f"{what}: there is no such file, and it is no sha256 (8 to 64 hex digits). "
            "A file's: sha256sum FILE"
        )
    return TextQuery(path=gone)


def by_digest(digest: str) -> TextQuery:
    """A digest, or its first digits.

    Raises:
        ParamsError: it is none.
    """
    if not DIGEST.fullmatch(digest.lower()):
        raise ParamsError(f"{digest!r} is no sha256: give 8 to 64 hex digits")
    return TextQuery(frozenset([digest.lower()]))


def texts_of(path: Path) -> Iterator[str]:
    """Every text of a file (none of an archive) as each way of reading a source may have left it.

    Raises:
        DataError: the file cannot be read.
    """
    if is_archive(path.name):
        return
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    for piece in reader_of(path.name).read(str(path), data):
        for clean in CLEANING.values():
            text = tidy(clean(tidy(piece.text)))
            # Where works are few, a source cuts its texts in three.
            yield from (text, *(cut_tail(text) or ()))


def _digests(path: Path) -> Iterator[str]:
    """The digests of a file and of every text in it."""
    try:
        yield file_digest(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    yield from (sha256(text.encode()).hexdigest() for text in texts_of(path))


def _matching(
    registry: Registry, version: Version, documents: Iterable[Document], wanted: TextQuery
) -> Iterator[Document]:
    sources = read_sources(registry, version) if wanted.digests else ()
    whole = {s.name for s in sources if any(map(wanted.has, s.archives.values()))}
    return (
        d for d in documents if d.source in whole or wanted.has(d.sha256) or wanted.has(file_of(d))
    )


def _at(
    documents: Iterable[Document], sources: Iterable[SourceRecord], path: str, root: Path
) -> Iterator[Document]:
    """The documents that a local source had at `path` of the checkout, or in that folder."""
    folders = {s.name: _place(root, s.place) for s in sources if is_local(s.kind)}
    places = [
        PurePosixPath(name, PurePosixPath(path).relative_to(folder))
        for name, folder in folders.items()
        if PurePosixPath(path).is_relative_to(folder)
    ]
    # A record of a .jsonl file ends in #line, the tail of a cut text in " (test)".
    for document in documents:
        file = PurePosixPath(re.sub(r"(#\d+)?( \((val|test)\))?$", "", document.doc_id))
        if any(file.is_relative_to(place) for place in places):
            yield document


def _holding(version: Version, document: Document) -> Holding:
    return Holding(version, document.split, document.doc_id, document.sha256, file_of(document))


def _from(root: Path, path: Path) -> str:
    """A path as seen from the checkout."""
    return Path(os.path.relpath(path.absolute(), root.absolute())).as_posix()


def _place(root: Path, place: str) -> str:
    """The folder of a local source, as seen from the checkout."""
    return _from(root, root / at_home(place))


def _is_linked(root: Path, path: str) -> bool:
    """Whether a path lies in a folder that a source of params.yaml reads where it is."""
    try:
        sources = read_yaml((root / "params.yaml").read_text(encoding="utf-8"))["sources"]
        places = [str(source["path"]) for source in sources.values() if is_local(source["kind"])]
    except (OSError, *UNREADABLE):
        return False
    return any(PurePosixPath(path).is_relative_to(_place(root, place)) for place in places)


def _versions(holdings: Iterable[Holding]) -> tuple[Version, ...]:
    return tuple({h.version.version: h.version for h in holdings}.values())
