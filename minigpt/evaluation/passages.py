"""data/evaluation/passages.parquet: the bits of every passage; every figure is a sum over it.

A passage is about 1 kB of one document, cut at line ends. A token that crosses a border counts for
both sides: its bits are shared evenly over its bytes, and each passage has those of its own bytes.
The token itself is counted where its first byte lies. So passages add up to their document exactly.

A compressor has no bits for a passage: it has one row a source, with no work, document or passage.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from minigpt.data.document import Document
from minigpt.files import write_bytes

if TYPE_CHECKING:
    from minigpt.evaluation.perplexity import DocumentBits  # it imports torch

FILE = "passages.parquet"
SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("measure", pa.string()),  # base, finetuned or a baseline's name
        ("work", pa.string()),
        ("doc_id", pa.string()),
        ("passage", pa.int32()),  # 0, 1, … in its document
        ("bytes", pa.int64()),
        ("tokens", pa.int64()),  # null where the measure has none
        ("bits", pa.float64()),
    ]
)
Row = dict[str, Any]
LONG = 8
"""Times the wanted length, from which on a line is cut."""
SENTENCE = re.compile("[.!?](?= )|。|！|？|।".encode())  # noqa: RUF001
BLANK = re.compile(rb"\s")


def cut(text: bytes, wanted: int) -> NDArray[np.int64]:
    """(passages + 1,) borders 0 … len(text): each passage ends at the line end nearest to `wanted`.

    A rest shorter than half of `wanted` belongs to the passage before it. Only a line longer
    than LONG times `wanted` is cut: behind a sentence, else a blank, else a character.
    """
    data = np.frombuffer(text, np.uint8)
    ends = np.append(np.flatnonzero(data == ord("\n")) + 1, len(text))
    borders = [0]
    while (start := borders[-1]) < len(text):
        i = int(np.searchsorted(ends, start + wanted))
        near = [int(end) for end in ends[max(i - 1, 0) : i + 1] if end > start]
        end = min(near or [len(text)], key=lambda end: abs(end - start - wanted))
        here = int(np.searchsorted(ends, start, side="right"))  # the line that start lies in
        line = int(ends[here]) - (int(ends[here - 1]) if here else 0)
        if line > LONG * wanted and end - start > 1.5 * wanted:
            end = start + _end_in_line(text[start : start + wanted])
        borders.append(end if len(text) - end >= wanted / 2 else len(text))
    return np.array(borders, np.int64)


def _end_in_line(piece: bytes) -> int:
    """Where a piece of a line can end: after a sentence or a blank in its second half, or whole."""
    for separator in (SENTENCE, BLANK):
        ends = [match.end() for match in separator.finditer(piece, len(piece) // 2)]
        if ends:
            return ends[-1]
    whole = piece.decode("utf-8", errors="ignore").encode()  # without a character cut in half
    return len(whole) or len(piece)


def share(borders: NDArray[np.int64], unit_bytes: NDArray[np.int64], bits: Any) -> Any:
    """(passages,) bits between the borders, those of each unit spread evenly over its bytes."""
    ends = np.concatenate(([0], np.cumsum(unit_bytes)))
    return np.diff(np.interp(borders, ends, np.concatenate(([0.0], np.cumsum(bits)))))


def model_rows(measure: str, documents: Sequence["DocumentBits"], wanted: int) -> list[Row]:
    """One row for each passage: the bits that a model needed for it."""
    rows = []
    for document_bits in documents:
        borders = cut(document_bits.document.text.encode(), wanted)
        bits = share(borders, document_bits.token_bytes, document_bits.bits)
        starts = np.cumsum(document_bits.token_bytes) - document_bits.token_bytes
        tokens = np.diff(np.searchsorted(starts, borders))
        rows += _rows(measure, document_bits.document, borders, bits, tokens.tolist())
    return rows


def byte_rows(
    measure: str, documents: Sequence[Document], bits: NDArray[np.float64], wanted: int
) -> list[Row]:
    """One row a passage for a baseline; `bits` are (bytes,) over the documents end to end."""
    rows, start = [], 0
    for document in documents:
        text = document.text.encode()
        borders = cut(text, wanted)
        sums = np.concatenate(([0.0], np.cumsum(bits[start : start + len(text)])))
        rows += _rows(measure, document, borders, np.diff(sums[borders]), None)
        start += len(text)
    return rows


def source_row(measure: str, source: str, n_bytes: int, bits: float) -> Row:
    """The one row of a compressor."""
    return {"source": source, "measure": measure, "bytes": n_bytes, "bits": bits}


def write_passages(folder: Path, rows: Sequence[Row]) -> pa.Table:
    """Write the table; the same rows give the same bytes."""
    table = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd", version="2.6")
    write_bytes(folder / FILE, buffer.getvalue().to_pybytes())
    return table


def figures(table: pa.Table) -> dict[tuple[str, str, str | None], dict[str, float]]:
    """(source, measure, work) -> sums of bits, bytes and tokens; work None: the whole source."""
    sums: dict[tuple[str, str, str | None], dict[str, float]] = {}
    for row in table.to_pylist():
        for work in dict.fromkeys((None, row["work"])):
            total = sums.setdefault((row["source"], row["measure"], work), dict.fromkeys(SUMS, 0))
            for name in SUMS:
                total[name] += row[name] or 0
    return sums


SUMS = ("bits", "bytes", "tokens")


def _rows(
    measure: str, document: Document, borders: NDArray[np.int64], bits: Any, tokens: Any
) -> list[Row]:
    return [
        {
            "source": document.source,
            "measure": measure,
            "work": document.work,
            "doc_id": document.doc_id,
            "passage": i,
            "bytes": int(borders[i + 1] - borders[i]),
            "tokens": None if tokens is None else tokens[i],
            "bits": float(bits[i]),
        }
        for i in range(len(borders) - 1)
    ]
