"""A YAML text as plain values, as DVC reads it: YAML 1.2, whose `yes` is a word and `012` twelve.

What readers disagree about is refused with its line: a key that stands twice, tags, dates, keys
that are no words. So is what would take long: a large or deep text, aliases of aliases. PyYAML's
parser (libyaml) finds the events, in a tenth of the time that ruamel.yaml takes, DVC's reader.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from minigpt.log import excerpt

LARGEST = 10**6
"""Characters of a text: all that is written by hand, and 10,000 excluded documents."""
LONGEST_NUMBER = 1024
"""Bits of a whole number: more than any float holds, and little enough to be said in digits."""
DEEPEST = 32
"""Levels of lists and sections; params.yaml has seven."""
MOST = 100_000
"""Values in all, those that aliases repeat counted each time."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
CONSTANTS = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+)|[-+][0-9_]+|[0-9][0-9_]*")
FLOAT = re.compile(
    r"[-+]?[0-9][0-9_]*(?:\.[0-9_]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:$|[Tt \t])")
UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
BASES = {"0b": 2, "0o": 8, "0x": 16}


class YamlError(ValueError):
    """A text cannot be read; the message begins with the line."""


@dataclass
class _Level:
    """A list or section that is being read."""

    value: Any
    line: int
    anchor: str | None
    before: int
    """Values in front of it."""
    key: str | None = None
    """What the next value belongs to."""
    lines: dict[str, int] = field(default_factory=dict)
    """Key → where it stands."""
    merging: bool = False
    """Whether the next value belongs to `<<`: its keys are taken over where they are not given."""
    merged: list[Any] = field(default_factory=list)


def read_yaml(text: str) -> Any:
    """The one document of `text`; None where it has none.

    Raises:
        YamlError: it is no YAML, or holds what this module's head names.
    """
    if len(text) > LARGEST:
        raise YamlError(f"line 1: {len(text):,} characters; {LARGEST:,} at most")
    text = text.removeprefix("\ufeff")
    if bad := UNPRINTABLE.search(text):
        line = text[: bad.start()].count("\n") + 1
        raise YamlError(f"line {line}: not YAML: the character {ascii(bad[0])[1:-1]}")
    reader = _Reader()
    try:
        for event in yaml.parse(text, Loader=LOADER):
            reader.read(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(
            f"line {mark.line + 1 if mark else 1}: not YAML: {error.problem}"
        ) from error
    except yaml.YAMLError as error:
        raise YamlError(f"line 1: not YAML: {' '.join(str(error).split())}") from error
    return reader.document


class _Reader:
    """Builds the values out of events, with a stack of its own: depth costs no recursion."""

    def __init__(self) -> None:
        self.document: Any = None
        self.documents = 0
        self.count = 0
        self.levels: list[_Level] = []
        self.named: dict[str, tuple[Any, int]] = {}
        """Anchor → its value, and how many values that is."""

    def read(self, event: Any) -> None:
        """Take one event of the parser."""
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent(version=version):
                self.documents += 1
                if self.documents > 1:
                    raise YamlError(f"line {line}: a second document begins; there may be one")
                if version not in (None, (1, 2)):
                    raise YamlError(f"line {line}: %YAML {version[0]}.{version[1]}; expected 1.2")
            case yaml.CollectionStartEvent():
                self._open(event, line)
            case yaml.CollectionEndEvent():
                level = self.levels.pop()
                for key, value in (pair for section in level.merged for pair in section.items()):
                    self._count(1, line)
                    level.value.setdefault(key, value)
                if level.anchor:
                    self.named[level.anchor] = level.value, self.count - level.before
                self._put(level.value, level.line)
            case yaml.AliasEvent(anchor=anchor):
                if anchor not in self.named:
                    raise YamlError(
                        f"line {line}: *{excerpt(str(anchor))} repeats what has no end yet"
                    )
                value, count = self.named[anchor]
                self._count(count, line)
                self._refuse_key(line, "an alias")
                self._put(value, line)
            case yaml.ScalarEvent():
                self._scalar(event, line)

    def _open(self, event: Any, line: int) -> None:
        _refuse_tag(event, line)
        self._refuse_key(line, "a list or a section")
        if len(self.levels) == DEEPEST:
            raise YamlError(f"line {line}: nested too deeply; {DEEPEST} levels at most")
        value: Any = {} if isinstance(event, yaml.MappingStartEvent) else []
        self.levels.append(_Level(value, line, event.anchor, self.count))
        self._count(1, line)

    def _scalar(self, event: Any, line: int) -> None:
        _refuse_tag(event, line)
        self._count(1, line)
        if bad := UNPRINTABLE.search(event.value):  # "\\0" in a path, "\\e" for a terminal
            raise YamlError(f"line {line}: the character {ascii(bad[0])[1:-1]} is in no value")
        value = event.value if not event.implicit[0] else plain(event.value, line)
        if event.anchor:
            self.named[event.anchor] = value, 1
        level = self.levels[-1] if self.levels else None
        if level is None or isinstance(level.value, list) or level.key is not None:
            self._put(value, line)
        else:
            if not isinstance(value, str):
                raise YamlError(
                    f"line {line}: the key {excerpt(event.value) or 'that is empty'} is no word; "
                    "quote it"
                )
            if value in level.lines:
                raise YamlError(
                    f"line {line}: {excerpt(value)} stands twice, "
                    f"first in line {level.lines[value]}"
                )
            level.key, level.lines[value] = value, line
            level.merging = value == "<<" and event.implicit[0]

    def _put(self, value: Any, line: int) -> None:
        """Give a value to what it belongs to."""
        if not self.levels:
            self.document = value
            return
        level = self.levels[-1]
        if isinstance(level.value, list):
            level.value.append(value)
            return
        if level.merging:
            level.merged = value if isinstance(value, list) else [value]
            if not all(isinstance(section, dict) for section in level.merged):
                raise YamlError(f"line {line}: << takes over the keys of sections only")
        else:
            level.value[level.key] = value
        level.key = None

    def _refuse_key(self, line: int, what: str) -> None:
        level = self.levels[-1] if self.levels else None
        if level and isinstance(level.value, dict) and level.key is None:
            raise YamlError(f"line {line}: {what} cannot be a key")

    def _count(self, more: int, line: int) -> None:
        self.count += more
        if self.count > MOST:
            raise YamlError(f"line {line}: more than {MOST:,} values, aliases written out")


def _refuse_tag(event: Any, line: int) -> None:
    if event.tag is not None:
        tag = excerpt(event.tag.replace("tag:yaml.org,2002:", "!!"))
        raise YamlError(
            f"line {line}: the tag {tag} is not read; leave it out, quote what is a word"
        )


def plain(word: str, line: int) -> Any:
    """What a word without quotes stands for."""
    if word in CONSTANTS:
        return CONSTANTS[word]
    if DATE.match(word) or word == "=":  # a date, and a default that no reader takes any more
        raise YamlError(f"line {line}: {excerpt(word)} is no word to every reader; quote it")
    digits = word.replace("_", "")
    try:
        if INTEGER.fullmatch(word):
            digits = digits.lstrip("+-")
            value = int(digits, BASES.get(digits[:2], 10))
            if value.bit_length() > LONGEST_NUMBER:
                raise ValueError("no float holds it, and Python says it in no digits")
            return -value if word[0] == "-" else value
        if FLOAT.fullmatch(word):
            return float(re.sub(r"\.(?=[a-zA-Z])", "", digits, count=1))
    except ValueError as error:
        raise YamlError(f"line {line}: {excerpt(word)} is no number; quote a word") from error
    return word
