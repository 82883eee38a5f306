"""The documents that a version was made from and judged on, without their text.

What each is, and the runs of words of those it was trained on: a part of what names the version.
"""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from minigpt.data.document import Document, read_documents
from minigpt.data.word_runs import sketch, write_word_runs
from minigpt.files import write_bytes

INDEX = "release/documents.parquet"
RUNS = "release/word_runs.safetensors"
FACTS = ("doc_id", "sha256", "source", "role", "work", "lang", "licence", "split", "origin")


def write_index(documents: Path, index: Path, runs: Path) -> None:
    """Write the index of a folder of documents, and the sketch of its training text.

    Raises:
        DataError: there are no documents.
    """
    found = read_documents(documents, FACTS)
    rows = [{name: getattr(document, name) for name in FACTS} for document in found]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    write_bytes(index, buffer.getvalue())
    write_word_runs(runs, sketch(_texts(documents)))


def learned(documents: Iterable[Document]) -> set[str]:
    """The sha256 of the texts that a version with these documents was trained on."""
    return {document.sha256 for document in documents if document.split == "train"}


def _texts(documents: Path) -> Iterator[str]:
    for document in read_documents(documents, ("text",), split="train"):
        yield document.text
