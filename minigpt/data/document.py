"""The one record type of the data stages, and its Parquet file."""

import contextlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from minigpt.errors import DataError
from minigpt.files import write_bytes

DOCUMENTS, LICENCES = "documents.parquet", "licences.json"
REDO = "It is not as the pipeline wrote it. Run: dvc repro --force validate"


@dataclass(frozen=True)
class Document:
    """One text with what is known about it."""

    doc_id: str
    """source/path, unique."""
    text: str
    source: str
    role: str
    """pretrain or finetune."""
    work: str
    """The unit of splitting: no work is in two splits."""
    lang: str
    licence: str
    split: str
    """train, val or test."""
    sha256: str
    """Of the text in UTF-8."""
    origin: str
    """`digest:path`: the archive (for a local folder: the file) and the place in it."""
    meta: str = "{}"
    """Further facts as sorted JSON."""

    @property
    def facts(self) -> dict[str, Any]:
        """`meta` as a dict."""
        return dict(json.loads(self.meta))

    def with_facts(self, facts: Mapping[str, Any]) -> "Document":
        """This one with more in `meta`."""
        meta = json.dumps({**self.facts, **facts}, sort_keys=True, ensure_ascii=False)
        return replace(self, meta=meta)

    @property
    def n_bytes(self) -> int:
        """Length of the text in UTF-8."""
        return len(self.text.encode())


KEEP_FIRST = {"test": 0, "val": 1, "train": 2}
"""Of two equal texts the held-out one stays, so that none is trained on and judged by."""
COLUMNS = tuple(field.name for field in fields(Document))


def in_order(documents: Iterable[Document]) -> list[Document]:
    """Sorted by source, work and doc_id: the order of every file of documents."""
    return sorted(documents, key=lambda d: (d.source, d.work, d.doc_id))


def write_documents(path: Path, documents: Iterable[Document]) -> None:
    """Write documents, sorted, as byte-stable Parquet."""
    rows = [asdict(document) for document in in_order(documents)]
    write_rows(path, {name: [row[name] for row in rows] for name in COLUMNS})


def write_rows(path: Path, columns: dict[str, list[str]]) -> None:
    """Write columns of strings as Parquet through `datasets`: the same rows, the same bytes."""
    datasets = import_datasets()
    features = datasets.Features({name: datasets.Value("string") for name in columns})
    buffer = io.BytesIO()  # pyarrow aborts the process when a write fails under it
    datasets.Dataset.from_dict(columns, features=features).to_parquet(buffer)
    write_bytes(path, buffer.getvalue())


def read_documents(
    folder: Path, columns: Iterable[str] | None = None, **equals: str
) -> list[Document]:
    """Documents of `folder` with the given values, e.g. `role="pretrain", split="test"`.

    Sorted by source, work and doc_id. Fields that `columns` does not name are empty strings.

    Raises:
        DataError: there are no documents at `folder`, or the file has other columns.
    """
    wanted = list(COLUMNS if columns is None else columns)
    read = list(dict.fromkeys([*wanted, *equals]))
    if missing := sorted(set(read) - set(stored_columns(folder))):
        raise DataError(f"{folder / DOCUMENTS} has no columns {missing}. {REDO}")
    rows = read_rows(folder / DOCUMENTS, read)
    blank = dict.fromkeys(COLUMNS, "")
    return [
        Document(**(blank | {name: row[name] for name in wanted}))
        for row in rows
        if all(row[name] == value for name, value in equals.items())
    ]


def read_licences(raw: Path) -> dict[str, dict[str, Any]]:
    """Source → what download wrote down about it.

    Raises:
        DataError: the file is gone, cannot be read or is damaged.
    """
    path = raw / LICENCES
    try:
        licences = json.loads(path.read_text(encoding="utf-8"))
        return {name: dict(about) for name, about in licences.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read. Run: dvc repro --force download") from error


def stored_columns(folder: Path) -> list[str]:
    """The columns that the file of documents has."""
    with open_parquet(folder / DOCUMENTS) as file:
        return list(file.schema_arrow.names)


def read_rows(path: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a Parquet file; all of its columns where none are named."""
    with open_parquet(path) as file:
        return list(file.read(columns=columns, use_threads=False).to_pylist())


@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[Any]:
    """A pyarrow ParquetFile (its read_table would import pandas: a second more).

    Of bytes, not of a file, whose reading starts threads: Arrow's can abort a process that ends
    while they live, with exit code -6 behind good work (github.com/apache/arrow/issues/34314).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with (
            pa.memory_map(os.fspath(path)) as mapped,
            pq.ParquetFile(pa.BufferReader(mapped.read_buffer())) as file,
        ):
            yield file
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there. Run: dvc repro validate") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} cannot be read ({error}). {REDO}") from error


def import_datasets() -> Any:
    """The library `datasets`, kept from importing torch, drawing bars and phoning home."""
    quiet = {
        "USE_TORCH": "0",
        "USE_TF": "0",
        "USE_JAX": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    import datasets

    return datasets
