"""The stage download: every source's archive, byte for byte, and the documents read from it."""

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from minigpt.data import copies
from minigpt.data.archives import Member, is_archive, members
from minigpt.data.corpora import DownloadParams
from minigpt.data.document import DOCUMENTS, LICENCES, Document, write_documents
from minigpt.data.readers import Piece, reader_of
from minigpt.data.source import BaseSource
from minigpt.data.sources import SOURCES
from minigpt.data.splits import deal
from minigpt.data.text import CLEANING, tidy
from minigpt.digest import file_digest
from minigpt.errors import DataError
from minigpt.files import new_folder, write_json, write_text

if TYPE_CHECKING:
    from minigpt.run import Run


def download(
    local: Path, archives: Path, raw: Path, params: DownloadParams, run: "Run"
) -> dict[str, Any]:
    """Fetch every source into `archives` and write its documents and licences to `raw`.

    Both folders appear whole or not at all. Returns how many documents and bytes each source gave.

    Raises:
        DataError: a source cannot be had, is not the pinned one, or holds no text.
    """
    documents: list[Document] = []
    licences: dict[str, Any] = {}
    with new_folder(archives) as fetched, new_folder(raw) as out:
        texts: dict[str, list[Document]] = {}
        for name, source in sorted(params.sources.items()):
            archive = fetched / source.archive_name(name)
            source.fetch(name, archive, local, run)
            texts[name] = read_source(name, source, archive)
            run.progress(f"{name} {len(texts[name]):,} documents")
        run.progress("looking for texts that are there twice")
        for name, (dealt, remark) in deal(params.sources, texts).items():
            if remark:
                run.say(remark)
            documents += dealt
            archive = fetched / params.sources[name].archive_name(name)
            licences[name] = licence_of(params.sources[name], archive, dealt)
        write_documents(out / DOCUMENTS, documents)
        write_json(out / LICENCES, licences)
        write_text(out / "LICENCES.md", licences_page(licences))
    for name, entry in licences.items():
        run.dataset(name, archives / entry["archive"], entry["sha256"], entry["role"])
    run.say(summary(params, licences))
    return {
        name: {key: item[key] for key in ("documents", "bytes")} for name, item in licences.items()
    }


def read_source(name: str, source: BaseSource, archive: Path) -> list[Document]:
    """The documents of one source, all still without a split.

    Raises:
        DataError: the archive cannot be read, or no file in it is chosen.
    """
    try:
        return read_archive(name, source, archive)
    except DataError as error:
        copied = copies.advice([name] if source.local else [])
        raise DataError(f"{error}\n{copied}" if copied else str(error)) from error


def read_archive(name: str, source: BaseSource, archive: Path) -> list[Document]:
    """As `read_source`."""
    if is_archive(archive.name):
        files = members(archive, source.chooses, shared=not source.local)
    else:
        files = [Member(archive.name, archive.read_bytes())]
    # The origin in a local folder is the file: else a new file would change every other's record.
    digest = None if source.local else file_digest(archive)
    folder = "" if source.local else shared_folder([file.path for file in files])
    documents = [d for file in files for d in documents_of(name, source, file, digest, folder)]
    if not documents:
        place = source.place if source.local else archive.name
        raise DataError(
            f"sources.{name}: empty corpus: {place} holds no text under {', '.join(source.files)}"
        )
    return documents


def shared_folder(paths: list[str]) -> str:
    """The deepest folder that holds every path, with its slash; '' where that is the top."""
    folder = posixpath.commonpath([posixpath.dirname(path) for path in paths]) if paths else ""
    return f"{folder}/" if folder else ""


def documents_of(
    name: str,
    source: BaseSource,
    file: Member,
    digest: str | None = None,
    folder: str = "",
    *,
    where: str = "",
) -> Iterator[Document]:
    """The documents of one file; names in them leave out `folder`.

    `digest` is the archive's, None where the file is its own origin. `where` begins what is said of
    a file that cannot be read; without it the source's name does.
    """
    origin = digest or hashlib.sha256(file.data).hexdigest()
    for piece in named_pieces(where or f"sources.{name}: ", file):
        short = piece.name.removeprefix(folder)
        text = tidy(CLEANING[source.cleaning](tidy(piece.text)))
        yield Document(
            doc_id=f"{name}/{short}",
            text=text,
            source=name,
            role=source.role,
            work=piece.work or work_of(name, source, piece, folder),
            lang=source.lang,
            licence=source.licence,
            split="",
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            origin=f"{origin}:{piece.name}",
            meta=json.dumps(facts_of(piece), sort_keys=True, ensure_ascii=False),
        )


def named_pieces(where: str, file: Member) -> Iterator[Piece]:
    """The texts of a file; what is said of one that cannot be read begins with `where`."""
    try:
        yield from reader_of(file.path).read(file.path, file.data)
    except DataError as error:
        raise DataError(f"{where}{error}") from error


def facts_of(piece: Piece) -> dict[str, Any]:
    """What is recorded of a text: what could not be decoded, and its line in a file of several."""
    return piece.facts if piece.line is None else piece.facts | {"line": piece.line}


def work_of(name: str, source: BaseSource, piece: Piece, folder: str) -> str:
    """The work a text belongs to, by the source's rule over its path behind `folder`."""
    path = PurePosixPath(piece.path.removeprefix(folder))
    stem = path.with_suffix("").as_posix()
    match = re.fullmatch(source.work, stem, re.DOTALL)
    if match is None:
        raise DataError(f"sources.{name}.work: {source.work!r} does not match {stem!r}")
    if not (work := match.group(1)):  # `(x)?.+`: the group may match nothing
        raise DataError(
            f"sources.{name}.work: the group of {source.work!r} names no work in {stem!r}; "
            "every path must give it a name"
        )
    return work if piece.line is None else f"{work}#{piece.line}"


def licence_of(source: BaseSource, archive: Path, documents: list[Document]) -> dict[str, Any]:
    """What is written beside the data about one source."""
    return {
        "kind": source.kind,
        "role": source.role,
        "licence": source.licence,
        "attribution": source.attribution,
        "archive": archive.name,
        "sha256": file_digest(archive),
        "documents": len(documents),
        "bytes": sum(document.n_bytes for document in documents),
        "splits": dict(sorted(Counter(document.split for document in documents).items())),
    }


def licences_page(licences: dict[str, Any]) -> str:
    """licences.json for people."""
    lines = ["# Where the text comes from, and on what terms", ""]
    for name, entry in sorted(licences.items()):
        lines += [
            f"## {name}",
            f"- licence: {entry['licence']}",
            f"- attribution: {entry['attribution'] or 'none asked for'}",
            f"- archive: {entry['archive']}, sha256 {entry['sha256']}",
            f"- documents: {entry['documents']:,} ({entry['bytes']:,} bytes), for {entry['role']}",
            "",
        ]
    return "\n".join(lines)


def summary(params: DownloadParams, licences: dict[str, Any]) -> str:
    """One line: how many sources of which kind, how much text, on what terms."""
    kinds = Counter(source.kind for source in params.sources.values())
    sources = ", ".join(
        f"{count} {SOURCES[kind].noun}{'s' if count > 1 else ''}"
        for kind, count in sorted(kinds.items())
    )
    count = sum(entry["documents"] for entry in licences.values())
    size = sum(entry["bytes"] for entry in licences.values())
    terms = ", ".join(sorted({entry["licence"] for entry in licences.values()}))
    return f"{sources}, {count:,} documents, {size / 1e6:.1f} MB · texts: {terms}"
