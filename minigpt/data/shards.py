"""Token shards: NAME.bin holds ids, NAME.idx where documents begin, manifest.json everything else.

Every document stands behind one <|endoftext|>. Ids are little-endian uint16 (uint32 where the
vocabulary needs it), offsets little-endian int64: one for each document and one for the end.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from minigpt.digest import file_digest
from minigpt.errors import DataError
from minigpt.files import write_bytes, write_json

FORMAT = 1
MANIFEST = "manifest.json"
SPLITS = ("train", "val", "test")
Ids = np.ndarray[Any, np.dtype[Any]]


class ShardWriter:
    """Fills one folder: `add` for every document, `finish` for a split that is complete, `close`.

    After each file the manifest says what the folder holds so far. A writer for a folder that an
    earlier one left unfinished begins behind those files, if they are whole and of its own kind;
    the caller leaves out the first `done(split)` documents, and the end is the same byte for byte.
    """

    def __init__(
        self, folder: Path, *, vocab_size: int, eot_id: int, tokenizer: str, shard_tokens: int
    ) -> None:
        """`tokenizer` is its digest; `shard_tokens` the most tokens in a file of many documents."""
        self.folder, self.eot_id, self.shard_tokens = folder, eot_id, shard_tokens
        self.dtype = np.dtype("<u2" if vocab_size <= 2**16 else "<u4")
        self.head = {
            "format": FORMAT,
            "dtype": self.dtype.name,
            "vocab_size": vocab_size,
            "eot_id": eot_id,
            "tokenizer": tokenizer,
        }
        self.splits = self._left_behind() or {
            split: {"tokens": 0, "bytes": 0, "docs": 0, "sources": {}, "shards": []}
            for split in SPLITS
        }
        self._pending: dict[str, list[tuple[Ids, str, int]]] = {split: [] for split in SPLITS}
        self._waiting = dict.fromkeys(SPLITS, 0)

    def done(self, split: str) -> int:
        """Documents of a split that are on disk already."""
        return int(self.splits[split]["docs"])

    def add(self, split: str, source: str, ids: Ids, n_bytes: int) -> None:
        """Append one document of `n_bytes` bytes of text to a split."""
        document = np.concatenate(([self.eot_id], ids)).astype(self.dtype)
        if self._waiting[split] and self._waiting[split] + len(document) > self.shard_tokens:
            self._write(split)
        self._pending[split].append((document, source, n_bytes))
        self._waiting[split] += len(document)

    def finish(self, split: str) -> None:
        """Write what is left of a split."""
        if self._pending[split]:
            self._write(split)

    def close(self) -> dict[str, Any]:
        """Write what is left of every split and the manifest; returns the manifest."""
        for split in SPLITS:
            self.finish(split)
        return self._write_manifest()

    def _write_manifest(self) -> dict[str, Any]:
        manifest = {**self.head, "splits": self.splits}
        write_json(self.folder / MANIFEST, manifest)
        return manifest

    def _write(self, split: str) -> None:
        written, entry = self._pending[split], self.splits[split]
        name = f"{split}-{len(entry['shards']):05d}"
        documents = [document for document, _, _ in written]
        ends = np.cumsum([0, *map(len, documents)]).astype("<i8")
        write_bytes(self.folder / f"{name}.bin", np.concatenate(documents).tobytes())
        write_bytes(self.folder / f"{name}.idx", ends.tobytes())
        for document, source, n_bytes in written:
            by_source = entry["sources"].setdefault(source, {"tokens": 0, "bytes": 0, "docs": 0})
            for count in (entry, by_source):
                count["tokens"] += len(document)
                count["bytes"] += n_bytes
                count["docs"] += 1
        entry["shards"].append(
            {
                "name": name,
                "tokens": int(ends[-1]),
                "docs": len(documents),
                "sha256": {
                    suffix: file_digest(self.folder / f"{name}.{suffix}")
                    for suffix in ("bin", "idx")
                },
            }
        )
        self._pending[split], self._waiting[split] = [], 0
        self._write_manifest()

    def _left_behind(self) -> dict[str, dict[str, Any]] | None:
        """What an earlier writer's manifest says of this folder, where all of it is true."""
        try:
            manifest = read_manifest(self.folder)
            if {key: manifest.get(key) for key in self.head} != self.head:
                return None
            splits: dict[str, dict[str, Any]] = manifest["splits"]
            for split in SPLITS:
                for shard in splits[split]["shards"]:
                    for suffix, sha256 in shard["sha256"].items():
                        check(self.folder / f"{shard['name']}.{suffix}", sha256)
        except (DataError, KeyError):
            return None
        return splits


@dataclass(frozen=True)
class Tokens:
    """One split, read from disk as it is needed."""

    shards: tuple[Ids, ...]
    """Memory-mapped ids, one array a file, in order."""
    docs: Ids
    """(documents + 1,) int64: where each document begins, then the number of tokens."""
    n_bytes: int
    """Bytes of text behind the tokens."""
    vocab_size: int
    eot_id: int

    def __len__(self) -> int:
        return int(self.docs[-1])

    @cached_property
    def ids(self) -> Ids:
        """All tokens: the file itself where there is one, a copy in memory where there are more."""
        return self.shards[0] if len(self.shards) == 1 else np.concatenate(self.shards)

    @cached_property
    def _ends(self) -> Ids:
        return np.cumsum([len(shard) for shard in self.shards])

    def rows(self, starts: Ids, length: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(len(starts), length) int64: the tokens from each start on, across files where needed.

        Raises:
            IndexError: a row would begin before the first token or end behind the last.
        """
        if len(starts) and not 0 <= starts.min() <= starts.max() <= len(self) - length:
            raise IndexError(f"rows of {length} tokens do not fit into {len(self)} tokens")
        tokens = np.empty((len(starts), length), dtype=np.int64)
        for row, start in zip(tokens, starts, strict=True):
            at = int(np.searchsorted(self._ends, start, side="right"))
            begin = int(start) - (int(self._ends[at - 1]) if at else 0)
            filled = 0
            while filled < length:
                piece = self.shards[at][begin : begin + length - filled]
                row[filled : filled + len(piece)] = piece
                filled, at, begin = filled + len(piece), at + 1, 0
        return tokens


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of shards.

    Raises:
        DataError: it is missing, not JSON or of another format number.
    """
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}). Run: dvc repro tokenize") from error
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{path}: shards of format {manifest.get('format')}, this code reads {FORMAT}. "
            "Run: dvc repro tokenize"
        )
    return manifest


def open_tokens(folder: Path, split: str, tokenizer: str) -> Tokens:
    """Open one split for a tokenizer, given by its digest; every file is checked against its hash.

    Raises:
        DataError: another tokenizer wrote the shards, the split is empty, or a file is missing,
            cut short or changed.
    """
    manifest = read_manifest(folder)
    if manifest["tokenizer"] != tokenizer:
        raise DataError(
            f"{folder}: tokenizer {tokenizer[:12]} expected, {manifest['tokenizer'][:12]} found; "
            "these shards were written with another tokenizer. Run: dvc repro tokenize"
        )
    entry = manifest["splits"][split]
    if not entry["shards"]:
        raise DataError(
            f"{folder}: the {split} split is empty. Give a source with {split} documents in "
            "params.yaml (sources), then run: dvc repro"
        )
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    shards, starts, before = [], [], 0
    for shard in entry["shards"]:
        for suffix, sha256 in shard["sha256"].items():
            check(folder / f"{shard['name']}.{suffix}", sha256)
        shards.append(np.asarray(np.memmap(folder / f"{shard['name']}.bin", dtype, mode="r")))
        starts.append(np.fromfile(folder / f"{shard['name']}.idx", "<i8")[:-1] + before)
        before += shard["tokens"]
    docs = np.concatenate([*starts, [before]]).astype(np.int64)
    return Tokens(tuple(shards), docs, entry["bytes"], manifest["vocab_size"], manifest["eot_id"])


def check(path: Path, sha256: str) -> None:
    """Refuse a file whose contents are not those of the manifest."""
    actual_sha256 = file_digest(path) if path.is_file() else "no file"
    if actual_sha256 != sha256:
        raise DataError(
            f"{path}: sha256 {sha256[:12]} expected, {actual_sha256[:12]} found; the shard is torn "
            "or was changed. Run: dvc repro --force --single-item tokenize"
        )
