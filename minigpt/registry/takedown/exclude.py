"""Digests in `validate.exclude` of params.yaml, put in without touching another line of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

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
    wanted = [*before, *(digest for digest in dict.fromkeys(digests) if digest not in before)]
    if wanted == before:
        return text
    changed = _edited(text, wanted, wanted[len(before) :])
    values[SECTION] = (values.get(SECTION) or {}) | {KEY: wanted}
    try:
        right = yaml.safe_load(changed) == values
    except yaml.YAMLError:
        right = False
    if not right:
        raise ParamsError(
            f"{PARAMS}: {SECTION}.{KEY} is written in a way that cannot be added to; "
            f"add it by hand, then run the same command: {KEY}: {_flow(wanted)}"
        )
    return changed


def _edited(text: str, digests: Sequence[str], new: Sequence[str]) -> str:
    newline = "\r\n" if "\r\n" in text else "\n"
    whole = yaml.compose(text)
    section = _child(whole, SECTION)
    if section is None:
        ended = "" if not text or text.endswith("\n") else newline
        return (
            f"{text}{ended}{newline}{SECTION}:{_list(digests, '  ', newline, alone=True)}{newline}"
        )
    if not isinstance(section, yaml.MappingNode) or section.flow_style:
        return text  # refused by the caller
    first = section.value[0][0].start_mark
    indent = " " * first.column
    old = _child(section, KEY)
    if old is None:
        line = f"{KEY}:{_list(digests, indent, newline)}{newline}{indent}"
        return text[: first.index] + line + text[first.index :]
    if isinstance(old, yaml.SequenceNode) and not old.flow_style:
        last = old.value[-1]  # the node itself ends where the next key begins
        dash = text[last.start_mark.index - last.start_mark.column : last.start_mark.index]
        line_end = _line_end(text, last.end_mark.index)
        added = "".join(f"{newline}{dash}{_scalar(digest)}" for digest in new)
        return text[:line_end] + added + text[line_end:]
    start, end = old.start_mark.index, old.end_mark.index
    if "#" in text[start:end]:
        return text  # comments between the brackets: refused by the caller
    start = len(text[:start].rstrip(" "))
    listed, line_end = _list(digests, indent, newline), _line_end(text, end)
    if listed.startswith(newline):  # what stands behind the old list is about the whole
        return text[:start] + text[end:line_end] + listed + text[line_end:]
    return text[:start] + listed + text[end:]


def _line_end(text: str, index: int) -> int:
    end = text.find("\n", index)
    end = len(text) if end < 0 else end
    return end - 1 if text[index:end].endswith("\r") else end


def _child(node: Any, key: str) -> Any:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for name, value in pairs if name.value == key), None)


def _list(digests: Sequence[str], indent: str, newline: str, alone: bool = False) -> str:
    """What stands behind the colon: on the same line where it fits, as presets are written."""
    if alone:
        return f"{newline}{indent}{KEY}:{_list(digests, indent, newline)}"
    if len(line := f"{indent}{KEY}: {_flow(digests)}") <= WIDTH:
        return line.removeprefix(f"{indent}{KEY}:")
    return "".join(f"{newline}{indent}  - {_scalar(digest)}" for digest in digests)


def _flow(digests: Sequence[str]) -> str:
    return f"[{', '.join(map(_scalar, digests))}]"


def _scalar(digest: str) -> str:
    """In quotes where YAML would read a number: 12 decimal digits, or 1234567890e1."""
    return str(yaml.safe_dump(digest, width=WIDTH).splitlines()[0])
