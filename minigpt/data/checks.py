"""What is dropped by rule before anything is asked of the documents."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minigpt.data.config import Validation
from minigpt.data.document import KEEP_FIRST, Document, in_order, read_rows, write_rows


@dataclass(frozen=True)
class Dropped:
    """A document that goes no further, and why. Its text is not kept."""

    doc_id: str
    source: str
    work: str
    split: str
    sha256: str
    reason: str
    """excluded, empty, duplicate or near-duplicate."""
    detail: str


def drop(
    documents: Iterable[Document], validation: Validation
) -> tuple[list[Document], list[Dropped]]:
    """The documents that stay and those that go, both in order."""
    valid_documents: list[Document] = []
    gone: list[Dropped] = []
    seen: dict[str, str] = {}
    for document in sorted(in_order(documents), key=lambda d: KEEP_FIRST.get(d.split, 3)):
        reason = why_drop(document, validation.exclude, seen)
        if reason is None:
            seen[document.sha256] = document.doc_id
            valid_documents.append(document)
        else:
            gone.append(dropped(document, *reason))
    return in_order(valid_documents), sorted(gone, key=lambda d: (d.source, d.work, d.doc_id))


def why_drop(
    document: Document, exclude: tuple[str, ...], seen: dict[str, str]
) -> tuple[str, str] | None:
    """(reason, detail) or None to keep. `seen`: sha256 → doc_id of the texts kept so far."""
    origin = document.origin.partition(":")[0]
    for digest in exclude:
        if document.sha256.startswith(digest) or origin.startswith(digest):
            return "excluded", f"validate.exclude names {digest}"
    if not document.text.strip():
        return "empty", "no text"
    if document.sha256 in seen:
        return "duplicate", f"same text as {seen[document.sha256]}"
    if original := document.facts.get("copy_of"):  # the download found it, before it dealt splits
        share = document.facts["resemblance"]
        alike = "but for blanks, case and marks" if share == 1 else f"by {share:.0%}"
        return "near-duplicate", f"the same as {original} {alike}"
    return None


def dropped(document: Document, reason: str, detail: str) -> Dropped:
    """The record of one that goes."""
    return Dropped(
        doc_id=document.doc_id,
        source=document.source,
        work=document.work,
        split=document.split,
        sha256=document.sha256,
        reason=reason,
        detail=detail,
    )


def write_dropped(path: Path, gone: list[Dropped]) -> None:
    """Write what was dropped as byte-stable Parquet (with all its columns where nothing was)."""
    names = list(Dropped.__dataclass_fields__)
    write_rows(path, {name: [getattr(entry, name) for entry in gone] for name in names})


def read_dropped(path: Path) -> list[Dropped]:
    """What `write_dropped` wrote."""
    return [Dropped(**row) for row in read_rows(path, list(Dropped.__dataclass_fields__))]
