"""The document index of a version: every document it was made from and judged on, not its text."""

import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from minigpt.data.document import COLUMNS, Document
from minigpt.errors import RegistryError
from minigpt.files import write_bytes
from minigpt.registry.artifacts import read_artifact
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version

INDEX = "data/documents.parquet"  # of a version; in the checkout data/documents is a folder
FACTS = ("doc_id", "sha256", "source", "role", "work", "lang", "licence", "split", "origin")


def write_index(folder: Path, documents: Iterable[Document]) -> None:
    """Write the index under its path in `folder`."""
    rows = [{name: getattr(document, name) for name in FACTS} for document in documents]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write_bytes(folder / INDEX, buffer.getvalue())


def learned(documents: Iterable[Document]) -> set[str]:
    """The sha256 of the texts that a version with these documents was trained on."""
    return {document.sha256 for document in documents if document.split == "train"}


def file_of(document: Document) -> str:
    """sha256 of the file or archive that a document came in; empty where nobody wrote it down."""
    return document.origin.partition(":")[0]


def index_of(registry: Registry, version: Version) -> list[Document] | None:
    """The documents of a version, texts left out; None where its index is gone.

    Raises:
        RegistryError: the store cannot be reached, or the index cannot be read.
    """
    data = read_artifact(registry, version, INDEX)
    if data is None:
        return None
    blank = dict.fromkeys(COLUMNS, "")
    try:
        file = pq.ParquetFile(pa.BufferReader(data))  # see open_parquet
        rows = file.read(use_threads=False).to_pylist()
        return [Document(**(blank | row)) for row in rows]
    except (pa.ArrowException, TypeError) as error:
        raise RegistryError(
            f"{version.name} {version.version}: its {INDEX} cannot be read ({error}). "
            "Put the store's files back from a copy"
        ) from error
