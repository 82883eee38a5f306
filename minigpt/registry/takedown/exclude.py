"""Digests in `validate.exclude` of params.yaml; its comments and every other value stay."""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import SingleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

from minigpt.errors import ParamsError
from minigpt.files import write_text

PARAMS = "params.yaml"
SECTION, KEY = "validate", "exclude"
WIDTH = 100


def exclude(root: Path, digests: Sequence[str]) -> None:
    """Add digests to `validate.exclude`; comments and every other value stay as they are.

    Raises:
        ParamsError: params.yaml is written in a way that cannot be added to safely.
    """
    path = root / PARAMS
    text = path.read_bytes().decode()
    if (changed := with_excluded(text, digests)) != text:
        write_text(path, changed)


def excluded(root: Path) -> tuple[str, ...]:
    """What `validate.exclude` names."""
    values = yaml.safe_load((root / PARAMS).read_text(encoding="utf-8")) or {}
    return tuple((values.get(SECTION) or {}).get(KEY) or ())


def with_excluded(text: str, digests: Sequence[str]) -> str:
    """`text`, a params.yaml, with these digests excluded too."""
    values = yaml.safe_load(text) or {}
    before = list((values.get(SECTION) or {}).get(KEY) or ())
    new = [digest for digest in dict.fromkeys(digests) if digest not in before]
    if not new:
        return text
    values[SECTION] = (values.get(SECTION) or {}) | {KEY: [*before, *new]}
    try:
        changed = _edited(text, new)
    except YAMLError:  # a key twice, of which PyYAML takes the last
        changed = ""
    if yaml.safe_load(changed) != values or _comments(changed) != _comments(text):
        raise ParamsError(
            f"{PARAMS}: {SECTION}.{KEY} is written in a way that cannot be added to; "
            f"add it by hand, then run the same command: {KEY}: [{', '.join([*before, *new])}]"
        )
    return changed


def _edited(text: str, new: Sequence[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    params = _editor().load(text.replace("\r\n", "\n"))
    if params is None:  # no value at all; comments stay above
        above = f"{text.rstrip()}{newline}{newline}" if text else ""
        params, text = CommentedMap(), "\n"
    else:
        above = ""
    section = params.get(SECTION)
    if section is None:
        section = params[SECTION] = CommentedMap()
    items = section.get(KEY)
    if items and not items.fa.flow_style():
        _append(items, new)
    else:
        listed = _as_presets_are([*(items or ()), *new])
        if KEY not in section:
            section.insert(0, KEY, listed)
        else:
            section[KEY] = listed
            if (comments := section.ca.items.get(KEY)) and comments[2]:
                comments[2] = _comment(comments[2].value, column=len(f"  {KEY}:  "))
    written = _written(params)
    if not text.endswith("\n"):
        written = written.removesuffix("\n")
    return above + written.replace("\n", newline)


def _append(items: CommentedSeq, new: Sequence[str]) -> None:
    """Put digests behind the last item; what stands below its line goes below theirs."""
    last = len(items) - 1
    items.extend(map(_scalar, new))
    if comments := items.ca.items.pop(last, None):
        token = comments[0]
        own, line_end, below = token.value.partition("\n")
        if own:
            items.ca.items[last] = [_comment(own + line_end, token.start_mark.column), *[None] * 3]
        if below:
            rest = _comment(line_end + below, token.start_mark.column)
            items.ca.items[len(items) - 1] = [rest, *[None] * 3]


def _as_presets_are(digests: Sequence[str]) -> CommentedSeq:
    """A list on one line where it fits, else an item a line."""
    listed = CommentedSeq(map(_scalar, digests))
    if len(f"  {KEY}: [{', '.join(listed)}]") <= WIDTH:
        listed.fa.set_flow_style()
    return listed


def _comment(text: str, column: int) -> CommentToken:
    return CommentToken(text, CommentMark(column), None)


class _Writer(RoundTripRepresenter):
    """As ruamel.yaml's own, but null stays a word."""

    def represent_none(self, data: None) -> Any:
        """Called for each null."""
        del data
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Writer.add_representer(type(None), _Writer.represent_none)


def _editor() -> YAML:
    """Reads and writes YAML as presets are written: lists indented, no line broken."""
    editor = YAML()
    editor.Representer = _Writer
    editor.preserve_quotes = True
    editor.width = 10**6
    editor.indent(mapping=2, sequence=4, offset=2)
    return editor


def _written(params: Any) -> str:
    stream = io.StringIO()
    _editor().dump(params, stream)
    return stream.getvalue()


def _scalar(digest: str) -> str:
    """In quotes where a reader of YAML would take it for a number: 123456789012, 12345678e1."""
    return SingleQuotedScalarString(digest) if re.fullmatch(r"\d+(e\d+)?", digest) else digest


def _comments(text: str) -> list[str]:
    return sorted(re.findall(r"#[^\r\n]*", text))
