"""Bytes to text: decoding that remembers what failed, tidying, cleaning rules, cutting."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from minigpt.errors import DataError

BY_LINE = re.compile(r"\A\s*[^\n]+\n\s*by William Shakespeare\s*\n")
SURROGATE = re.compile("[\ud800-\udfff]")
THE_END = re.compile(r"\n\s*THE END\s*\Z")


def decode(data: bytes) -> tuple[str, dict[str, Any]]:
    """Text of UTF-8 bytes, and what could not be decoded: count, offset of the first, a guess."""
    try:
        return data.decode("utf-8-sig"), {}
    except UnicodeDecodeError:
        text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
    bad = text.count("\ufffd") - data.count("\ufffd".encode())
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return text, {
        "undecodable": bad,
        "undecodable_at": _first_bad(data),
        "looks_like": "utf-16" if utf16 else "latin-1",
    }


def _first_bad(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def tidy(text: str) -> str:
    """Unix line ends, no blank lines before, no blanks after, one newline at the end; or ''."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = re.sub(r"\A(?:[ \t]*\n)+", "", text).rstrip()
    return f"{text}\n" if text else ""


def clean_shakespeare(text: str) -> str:
    """Drop the title with its by-line, and a closing THE END."""
    return THE_END.sub("\n", BY_LINE.sub("", text, count=1))


CLEANING: dict[str | None, Callable[[str], str]] = {
    None: lambda text: text,
    "shakespeare": clean_shakespeare,
}


@dataclass(frozen=True)
class Piece:
    """One text as it lay in a source."""

    where: str
    """Path in the source; a record of a .jsonl file adds #line."""
    text: str
    facts: dict[str, Any]
    """What could not be decoded; empty where all is well."""
    work: str | None = None
    """The work, where a record names it."""


def pieces(path: str, data: bytes) -> Iterator[Piece]:
    """The texts of a file: the whole, or each record of a .jsonl file.

    Raises:
        DataError: a line of a .jsonl file is not a JSON object with a string under `text`.
    """
    if path.endswith(".jsonl"):
        yield from _records(path, data)
    else:
        text, facts = decode(data)
        yield Piece(path, text, facts)


def _records(path: str, data: bytes) -> Iterator[Piece]:
    offset = 0
    for number, line in enumerate(data.split(b"\n"), start=1):
        decoded, facts = decode(line)
        if facts:
            facts["undecodable_at"] += offset
        offset += len(line) + 1
        if not decoded.strip():
            continue
        try:
            record = json.loads(decoded)
        except json.JSONDecodeError as error:
            place = f"line {number}, column {error.colno}"
            raise DataError(f"{path}: {place} is not JSON: {error.msg}") from error
        except RecursionError as error:
            raise DataError(f"{path}: line {number} is nested too deeply") from error
        text = record.get("text") if isinstance(record, dict) else None
        if not isinstance(text, str):
            raise DataError(f'{path}: line {number} needs a string under the key "text"')
        # JSON can spell half a character (\ud800), which no encoding can write.
        text, work = (SURROGATE.sub("\ufffd", str(s)) for s in (text, record.get("work") or ""))
        yield Piece(f"{path}#{number}", text, facts, work or None)


def cut_tail(text: str) -> tuple[str, str, str] | None:
    """(train, val, test): the last tenth is test, the tenth before it val, cut at blank lines.

    Where there is no blank line, at a line end, else at a space; None for a text too short to cut.
    """
    first = _cut_near(text, round(len(text) * 0.8))
    second = _cut_near(text, round(len(text) * 0.9))
    parts = tidy(text[:first]), tidy(text[first:second]), tidy(text[second:])
    return parts if all(parts) else None


def _cut_near(text: str, target: int) -> int:
    """The end of the separator that is nearest to `target`."""
    reach = len(text) // 25  # less than half the way to the other cut, so the two stay apart
    start, stop = max(0, target - reach), min(len(text), target + reach)
    for separator in (r"\n[ \t]*\n", r"\n", r"\s"):
        ends = [start + found.end() for found in re.finditer(separator, text[start:stop])]
        if ends:
            return min(ends, key=lambda end: abs(end - target))
    return target
