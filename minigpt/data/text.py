"""Bytes to text: decoding that remembers what failed, tidying, cleaning rules, cutting."""

import codecs
import re
from collections.abc import Callable
from typing import Any

MARKS = {
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
"""Byte order marks, the longer first: one begins with the other."""
ICONV = {"latin-1": "latin1", "utf-16": "utf-16", "utf-32": "utf-32"}
"""What a text that is no UTF-8 may be in → its name for iconv."""
BY_LINE = re.compile(r"\A\s*[^\n]+\n\s*by William Shakespeare\s*\n")
SURROGATE = re.compile("[\ud800-\udfff]")
THE_END = re.compile(r"\n\s*THE END\s*\Z")


def decode(data: bytes) -> tuple[str, dict[str, Any]]:
    """Text of UTF-8 bytes, and what could not be decoded: count, offset of the first, a guess.

    A NUL is no text, though UTF-8 allows it: it marks another encoding, or no text at all.
    """
    try:
        text, bad = data.decode("utf-8-sig"), len(data)
        if "\0" not in text:
            return text, {}
    except UnicodeDecodeError:
        text, bad = data.decode("utf-8", errors="replace").removeprefix("\ufeff"), _first_bad(data)
    text = text.replace("\0", "\ufffd")
    places = [place for place in (bad, data.find(b"\0")) if place >= 0]
    return text, {
        "undecodable": text.count("\ufffd") - data.count("\ufffd".encode()),
        "undecodable_at": min(places),
        "looks_like": _guess(data),
    }


def _guess(data: bytes) -> str:
    """What bytes that are no UTF-8 text may be."""
    for name, marks in MARKS.items():
        if data.startswith(marks):
            return name
    even, odd = data[::2].count(0), data[1::2].count(0)
    nuls = even + odd
    if not nuls:
        return "latin-1"
    if min(even, odd) > 0.2 * nuls and nuls >= 0.45 * len(data):
        return "utf-32"  # two or three of four bytes are NUL
    if min(even, odd) < 0.05 * nuls and (nuls > 3 or nuls > 0.2 * len(data)):
        return "utf-16"  # of two bytes the same one is NUL
    return "a binary file"


def _first_bad(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


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


def cut_tail(text: str) -> tuple[str, str, str] | None:
    """(train, val, test): the last tenth is test, the tenth before it val, cut at blank lines.

    Where there is no blank line, at a line end, else behind a sentence, else at a space; None for a
    text too short to cut.
    """
    first = _cut_near(text, round(len(text) * 0.8))
    second = _cut_near(text, round(len(text) * 0.9))
    parts = tidy(text[:first]), tidy(text[first:second]), tidy(text[second:])
    return parts if all(parts) else None


def _cut_near(text: str, target: int) -> int:
    """The end of the separator that is nearest to `target`."""
    reach = len(text) // 25  # less than half the way to the other cut, so the two stay apart
    start, stop = max(0, target - reach), min(len(text), target + reach)
    for separator in (r"\n[ \t]*\n", r"\n", r"[.!?]\s|[。！？।]", r"\s"):  # noqa: RUF001
        ends = [start + match.end() for match in re.finditer(separator, text[start:stop])]
        if ends:
            return min(ends, key=lambda end: abs(end - target))
    return target
