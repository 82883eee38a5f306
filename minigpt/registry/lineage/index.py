"""The document index of a version: every document it was made from and judged on, not its text."""

import pyarrow as pa
import pyarrow.parquet as pq

from minigpt.data.document import COLUMNS, Document
from minigpt.data.word_runs import WordRuns, read_word_runs
from minigpt.errors import DataError
from minigpt.registry.artifacts import read_artifact
from minigpt.registry.contents import contents_of, damaged
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.release.document_index import INDEX, RUNS


def file_of(document: Document) -> str:
    """sha256 of the file or archive that a document came in; empty where nobody wrote it down."""
    return document.origin.partition(":")[0]


def index_of(registry: Registry, version: Version) -> list[Document] | None:
    """The documents of a version, texts left out; None where its index is gone.

    Raises:
        RegistryError: the store cannot be reached, or the index is not what the version is made of.
    """
    data = read_artifact(registry, version, INDEX)
    if data is None:
        return None
    data = contents_of(registry, version).checked(INDEX, data)
    blank = dict.fromkeys(COLUMNS, "")
    try:
        file = pq.ParquetFile(pa.BufferReader(data))  # see open_parquet
        rows = file.read(use_threads=False).to_pylist()
        return [Document(**(blank | row)) for row in rows]
    except (pa.ArrowException, TypeError) as error:
        raise damaged(version, INDEX, f"it cannot be read ({error})") from error


def word_runs_of(registry: Registry, version: Version) -> WordRuns:
    """The runs of words of a version's training text.

    Raises:
        RegistryError: as `index_of`, or they are gone.
    """
    try:
        return read_word_runs(contents_of(registry, version).read(RUNS))
    except DataError as error:
        raise damaged(version, RUNS, str(error)) from error
