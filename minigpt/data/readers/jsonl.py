"""JSON lines: a line is an object with a string under `text`, and if it likes one under `work`."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from minigpt.data.reader import Piece, Reader
from minigpt.data.text import SURROGATE, decode
from minigpt.errors import DataError

UNWRITABLE = re.compile(f"{SURROGATE.pattern}|\0")


def read(path: str, data: bytes) -> Iterator[Piece]:
    """Each record.

    Raises:
        DataError: a line is not a JSON object with a string under `text`, or has a key twice.
    """
    offset = 0  # of the line's first byte
    for number, line in enumerate(data.split(b"\n"), start=1):
        decoded, facts = decode(line)
        if facts:
            facts = facts | {key: facts[key] + offset for key in facts if key.endswith("_at")}
        offset += len(line) + 1
        if not decoded.strip():
            continue
        try:
            record = json.loads(decoded, object_pairs_hook=with_keys_once)
        except json.JSONDecodeError as error:
            place = f"line {number}, column {error.colno}"
            guess = f"; is it {facts['looks_like']}?" if facts else ""
            raise DataError(f"{path}: {place} is not JSON: {error.msg}{guess}") from error
        except ValueError as error:  # a key twice, a number of more digits than Python reads
            raise DataError(f"{path}: line {number} cannot be read: {error}") from error
        except RecursionError as error:
            raise DataError(f"{path}: line {number} is nested too deeply") from error
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise DataError(f'{path}: line {number} needs a string under the key "text"')
        # JSON can spell half a character (\ud800), which no encoding can write, and \u0000.
        text, work = (UNWRITABLE.sub("\ufffd", str(s)) for s in (text, record.get("work") or ""))
        yield Piece(path, text, facts, number, work or None)


def with_keys_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python's reader would take the last of two equal keys, others the first.

    Raises:
        ValueError: a key stands twice.
    """
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"the key {json.dumps(key)} stands twice; leave one of them")
        record[key] = value
    return record


ENTRY = Reader(suffixes=(".jsonl",), read=read)
