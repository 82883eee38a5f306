"""The evaluation set of a version, kept with it: what its figures were measured on, for good.

evaluation/documents.parquet (the test documents with their text), passages.parquet and samples.json
of its evaluate stage. A later version is held against it on this set, whatever became of the data.
"""

import io
import json
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from minigpt.data.document import COLUMNS, DOCUMENTS, Document, read_documents, read_rows
from minigpt.digest import file_digest, text_digest
from minigpt.errors import DataError, RegistryError
from minigpt.evaluation.config import SAMPLES, EvaluateConfig
from minigpt.evaluation.passages import FILE as PASSAGES
from minigpt.files import write_bytes
from minigpt.graph import UNREADABLE
from minigpt.registry.artifacts import find_artifact, read_artifact
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.release.manifest import FileList, load_files
from minigpt.roles import FINETUNE, final_model
from minigpt.yaml12 import read_yaml

FOLDER = "evaluation"
OUTPUT = "data/evaluation"  # of the evaluate stage
FILES = "release/files.json"
READ = ("window", "stride", "batch", "passage_bytes")  # of the section evaluate

Key = tuple[str, str, int]
"""Source, document, number of the passage in it."""
Passages = Mapping[Key, tuple[int, float]]
"""Bytes of each passage, and the bits that a model needed for it."""


@dataclass(frozen=True)
class EvaluationSet:
    """What a version was judged on, and what it needed for it."""

    version: Version
    documents: list[Document]
    rows: list[dict[str, Any]]
    """Of passages.parquet."""
    samples: list[dict[str, Any]]
    config: EvaluateConfig
    """How it was measured: windows and passages."""

    def passages(self, measure: str) -> Passages:
        """What `base`, `finetuned` or a baseline needed, passage by passage.

        `finetuned` is the version's model: of one that was not fine-tuned, its base.
        """
        if measure == FINETUNE.model:
            measure = self.model
        return passages_of(row for row in self.rows if row["measure"] == measure)

    @property
    def model(self) -> str:
        """The version's model, as its rows and samples name it."""
        return final_model({row["measure"] for row in self.rows})

    def of(self, source: str) -> "EvaluationSet":
        """What belongs to one source."""
        return replace(
            self,
            documents=[document for document in self.documents if document.source == source],
            rows=[row for row in self.rows if row["source"] == source],
        )

    @property
    def roles(self) -> dict[str, str]:
        """Source -> pretrain or finetune."""
        return {document.source: document.role for document in self.documents}

    def same_text(self, other: "EvaluationSet") -> bool:
        """Whether the figures of both were measured on the same passages in the same way."""
        return (
            identities(self.documents) == identities(other.documents)
            and (self.config.window, self.config.stride)
            == (other.config.window, other.config.stride)
            and cut_alike(self.passages("finetuned"), other.passages("finetuned"))
        )


def write_evaluation_set(root: Path, folder: Path) -> None:
    """Write the evaluation set of what was built in `root` to `folder`/evaluation.

    Raises:
        RegistryError: data/evaluation is not what release/files.json lists.
    """
    listed = {entry.path: entry.sha256 for entry in load_files(root / FILES).files}
    for name in (PASSAGES, SAMPLES):
        path = root / OUTPUT / name
        if not path.is_file() or file_digest(path) != listed.get(f"{OUTPUT}/{name}"):
            raise RegistryError(
                f"{OUTPUT}/{name} is not what {FILES} describes. Run: dvc repro evaluate manifest"
            )
        write_bytes(folder / FOLDER / name, path.read_bytes())
    documents = [asdict(d) for d in read_documents(root / "data/documents", split="test")]
    schema = pa.schema([(name, pa.string()) for name in COLUMNS])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(documents, schema=schema), buffer)
    write_bytes(folder / FOLDER / DOCUMENTS, buffer.getvalue())


def read_evaluation_set(registry: Registry, version: Version) -> EvaluationSet:
    """The evaluation set of a version.

    Raises:
        RegistryError: the store cannot be reached, or a file of it is gone or was changed.
    """
    with tempfile.TemporaryDirectory() as name:
        files: dict[str, Path] = {}
        for file in (DOCUMENTS, PASSAGES, SAMPLES):
            path = find_artifact(registry, version, f"{FOLDER}/{file}", Path(name))
            if path is None:
                raise _damaged(version, file, "it is gone")
            files[file] = path
        _refuse_changed(registry, version, files)
        try:
            documents = read_documents(files[DOCUMENTS].parent)
            rows = read_rows(files[PASSAGES])
            samples = json.loads(files[SAMPLES].read_text(encoding="utf-8"))
        except (DataError, pa.ArrowException, ValueError, OSError) as error:
            raise _damaged(version, FOLDER, str(error)) from error
    for document in documents:
        if text_digest([document.text]) != document.sha256:
            raise _damaged(version, DOCUMENTS, f"the text of {document.doc_id} was changed")
    return EvaluationSet(version, documents, rows, samples, evaluate_config(registry, version))


def evaluate_config(registry: Registry, version: Version) -> EvaluateConfig:
    """How a version was measured; the defaults where its params.yaml does not say.

    Only what figures depend on is read: other keys may be of a MiniGPT that is older or newer.
    """
    values = params_of(registry, version).get("evaluate") or {}
    try:
        return EvaluateConfig.model_validate({key: values[key] for key in READ if key in values})
    except (ValidationError, TypeError) as error:
        raise _damaged(version, "params.yaml", f"section evaluate: {error}") from error


def params_of(registry: Registry, version: Version) -> dict[str, Any]:
    """params.yaml of a version as plain values; nothing where it is gone.

    Raises:
        RegistryError: it is damaged.
    """
    data = read_artifact(registry, version, "params.yaml")
    try:
        return dict(read_yaml(data.decode())) if data else {}
    except UNREADABLE as error:
        raise _damaged(version, "params.yaml", "it cannot be read") from error


def identities(documents: Iterable[Document]) -> set[tuple[str, str, str]]:
    """Source, id and sha256 of each document."""
    return {(document.source, document.doc_id, document.sha256) for document in documents}


def passages_of(rows: Iterable[Mapping[str, Any]]) -> Passages:
    """Rows of one measure by passage."""
    return {
        (row["source"], row["doc_id"], row["passage"]): (row["bytes"], row["bits"]) for row in rows
    }


def cut_alike(passages: Passages, others: Passages) -> bool:
    """Whether both are over the same passages, so that they can be compared one by one."""
    return {key: size for key, (size, _) in passages.items()} == {
        key: size for key, (size, _) in others.items()
    }


def _refuse_changed(registry: Registry, version: Version, files: Mapping[str, Path]) -> None:
    """Else whoever can write the store's files decides what the gate compares with."""
    data = read_artifact(registry, version, FILES)
    if data is None:
        raise _damaged(version, FILES, "it is gone")
    listed = {e.path: e.sha256 for e in FileList.model_validate_json(data).files}
    for name in (PASSAGES, SAMPLES):
        if file_digest(files[name]) != listed.get(f"{OUTPUT}/{name}"):
            raise _damaged(version, name, f"it is not what {FILES} describes")


def _damaged(version: Version, file: str, why: str) -> RegistryError:
    place = file if "/" in file or file in (FOLDER, "params.yaml") else f"{FOLDER}/{file}"
    return RegistryError(
        f"{version.name} {version.version}: its {place} cannot be used: {' '.join(why.split())}. "
        "Put the store's files back from a copy"
    )
