"""The evaluation set of a version, kept with it: what its figures were measured on, for good.

What its evaluate stage wrote: the test documents with their text, every passage, samples, settings.
A later version is held against it on this set, whatever became of the data.
"""

import json
import math
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from minigpt.data.document import DOCUMENTS, Document, read_documents, read_rows
from minigpt.errors import DataError
from minigpt.evaluation.config import SAMPLES, SETTINGS, EvaluateConfig
from minigpt.evaluation.passages import FILE as PASSAGES
from minigpt.graph import UNREADABLE
from minigpt.registry.artifacts import read_artifact
from minigpt.registry.contents import contents_of, damaged
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.roles import FINETUNE, final_model
from minigpt.yaml12 import read_yaml

FOLDER = "data/evaluation"
ROUNDED = 1e-5
"""What results/evaluate.json leaves out of a figure at most."""

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
        return self.only(document for document in self.documents if document.source == source)

    def only(self, documents: Iterable[Document]) -> "EvaluationSet":
        """What belongs to some of its documents."""
        kept = list(documents)
        keys = {(document.source, document.doc_id) for document in kept}
        rows = [row for row in self.rows if (row["source"], row["doc_id"]) in keys]
        return replace(self, documents=kept, rows=rows)

    @property
    def roles(self) -> dict[str, str]:
        """Source -> pretrain or finetune."""
        return {document.source: document.role for document in self.documents}

    def refuse_other_figures(self, evaluation: Mapping[str, Any]) -> None:
        """Refuse a version whose results/evaluate.json does not say what its passages come to.

        Raises:
            RegistryError: names the file.
        """
        passages = self.passages(self.model)
        measured = {source for source, _, _ in passages}
        for source in self.roles:
            stated = evaluation.get(self.model, {}).get(source, {}).get("bits_per_byte", math.nan)
            if source not in measured or not math.isclose(
                bits_per_byte(passages, source), stated, abs_tol=ROUNDED
            ):
                why = f"its figure of {source} is not that of the passages in {FOLDER}"
                raise damaged(self.version, "results/evaluate.json", why)

    def same_text(self, other: "EvaluationSet") -> bool:
        """Whether the figures of both were measured on the same passages in the same way."""
        return (
            identities(self.documents) == identities(other.documents)
            and (self.config.window, self.config.stride)
            == (other.config.window, other.config.stride)
            and cut_alike(self.passages("finetuned"), other.passages("finetuned"))
        )


def read_evaluation_set(registry: Registry, version: Version) -> EvaluationSet:
    """The evaluation set of a version.

    Raises:
        RegistryError: the store cannot be reached, or a file of it is gone or was changed.
    """
    contents = contents_of(registry, version)
    with tempfile.TemporaryDirectory() as name:
        files = {
            file: contents.find(f"{FOLDER}/{file}", Path(name))
            for file in (DOCUMENTS, PASSAGES, SAMPLES, SETTINGS)
        }
        try:
            documents = read_documents(files[DOCUMENTS].parent)
            rows = read_rows(files[PASSAGES])
            samples = json.loads(files[SAMPLES].read_text(encoding="utf-8"))
            config = EvaluateConfig.model_validate_json(files[SETTINGS].read_bytes())
        except (DataError, pa.ArrowException, ValueError, OSError) as error:
            raise damaged(version, FOLDER, str(error)) from error
    return EvaluationSet(version, documents, rows, samples, config)


def params_of(registry: Registry, version: Version) -> dict[str, Any]:
    """params.yaml of a version as plain values; nothing where it is gone. No part of its name.

    Raises:
        RegistryError: it is damaged.
    """
    data = read_artifact(registry, version, "params.yaml")
    try:
        return dict(read_yaml(data.decode())) if data else {}
    except UNREADABLE as error:
        raise damaged(version, "params.yaml", "it cannot be read") from error


def identities(documents: Iterable[Document]) -> set[tuple[str, str, str]]:
    """Source, id and sha256 of each document."""
    return {(document.source, document.doc_id, document.sha256) for document in documents}


def passages_of(rows: Iterable[Mapping[str, Any]]) -> Passages:
    """Rows of one measure by passage."""
    return {
        (row["source"], row["doc_id"], row["passage"]): (row["bytes"], row["bits"]) for row in rows
    }


def bits_per_byte(passages: Passages, source: str) -> float:
    """The figure of a source, over all of its passages."""
    sums = [value for key, value in passages.items() if key[0] == source]
    return sum(bits for _, bits in sums) / sum(size for size, _ in sums)


def cut_alike(passages: Passages, others: Passages) -> bool:
    """Whether both are over the same passages, so that they can be compared one by one."""
    return {key: size for key, (size, _) in passages.items()} == {
        key: size for key, (size, _) in others.items()
    }
