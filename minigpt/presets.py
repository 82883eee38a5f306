"""Presets: params.yaml written afresh from the defaults in code and a preset's few differences."""

import os
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from minigpt.digest import file_digest
from minigpt.errors import MiniGPTError, ParamsError
from minigpt.files import write_text
from minigpt.git import run_git
from minigpt.graph import UNREADABLE, reason
from minigpt.log import say
from minigpt.params import PARAMS, STAGE_PARAMS, Params
from minigpt.params_errors import explain
from minigpt.process import WORK
from minigpt.yaml12 import read_yaml

WIDTH = 100
WRITTEN = WORK / "preset.sha256"
"""The digest of params.yaml as a preset wrote it last."""


def preset_names(root: Path) -> list[str]:
    """The presets of this checkout."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


def load_preset(root: Path, name: str, onto: str | None = None) -> Params:
    """Defaults in code, or the preset `onto`, plus the differences in presets/NAME.yaml.

    Raises:
        ParamsError: there is no such preset, or it cannot be read, or holds values that are not
            allowed.
    """
    path = root / "presets" / f"{name}.yaml"
    if not path.is_file():
        there = f"there are: {', '.join(preset_names(root))}"
        if not preset_names(root):
            there = f"{root} is not a minigpt project. Run this in one"
        raise ParamsError(f"no preset {name!r}; {there}")
    try:
        changes = dict(read_yaml(path.read_text(encoding="utf-8")) or {})
    except UNREADABLE as error:
        raise ParamsError(
            f"presets/{path.name}: not YAML, or no sections: {reason(error)}"
        ) from error
    start = defaults() if onto is None else dumped(load_preset(root, onto))
    return checked(merge(start, changes), path.name)


def defaults() -> dict[str, Any]:
    """The default preset as code states it."""
    return dumped(Params())


def dumped(params: Params) -> dict[str, Any]:
    """Plain values under the keys of params.yaml."""
    return params.model_dump(mode="json", by_alias=True)


def merge(base: dict[str, Any], changes: dict[str, Any], path: str = "") -> dict[str, Any]:
    """`base` with `changes`; sources, and a union with another kind, are replaced whole."""
    result = dict(base)
    for key, change in changes.items():
        old = base.get(key)
        whole = path + key == "sources" or (
            isinstance(old, dict)
            and isinstance(change, dict)
            and old.get("kind") != change.get("kind", old.get("kind"))
        )
        if isinstance(old, dict) and isinstance(change, dict) and not whole:
            result[key] = merge(old, change, f"{path}{key}.")
        else:
            result[key] = change
    return result


def checked(values: dict[str, Any], file: str) -> Params:
    """`values` as Params, or a line a problem."""
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise ParamsError("\n".join(explain(error, Params, file))) from error


def with_exclusions(root: Path, params: Params) -> Params:
    """`params`, without what params.yaml now excludes either: what was taken down stays out.

    Where params.yaml cannot be read, the committed one is asked; where neither can, that is said.
    """
    path = root / PARAMS
    readable = path.is_file() and os.access(path, os.R_OK)
    exclusions = excluded_in(path.read_bytes()) if readable else None
    if exclusions is None:
        committed = run_git(root, "show", f"HEAD:./{PARAMS.as_posix()}")
        exclusions = None if committed.returncode else excluded_in(committed.stdout)
        if exclusions is None and path.is_file():
            say(f"{PARAMS} cannot be read, so what it excludes (takedowns too) is not carried over")
    merged = [*(exclusions or []), *params.validation.exclude]
    try:
        return checked(merge(dumped(params), {"validate": {"exclude": merged}}), str(PARAMS))
    except ParamsError:  # not all of them are digests
        say(f"{PARAMS}: validate.exclude is no list of digests, so it is not carried over")
        return params


def excluded_in(text: bytes) -> list[str] | None:
    """What a params.yaml excludes; None where it cannot be read."""
    try:
        return list(read_yaml(text.decode())["validate"]["exclude"])
    except UNREADABLE:
        return None


def write_params(
    root: Path,
    params: Params,
    preset: str,
    *,
    force: bool = False,
    first: Callable[[], None] = lambda: None,
) -> None:
    """Write params.yaml with every value and its meaning.

    `first` is done once nothing speaks against it. What a preset wrote is overwritten: it can be
    written again.

    Raises:
        ParamsError: params.yaml has edits of a person's that git does not hold, and `force` was not
            given.
    """
    path = root / PARAMS
    folder = " --path DIR" if preset == "local" else ""
    text = f"# Preset {preset}: what changes the result. Afresh: minigpt preset {preset}{folder}\n"
    order = dict.fromkeys(name for kind in STAGE_PARAMS.values() for name in kind.model_fields)
    text += "".join(f"\n{section}" for section in to_yaml(params, order=tuple(order)))
    if checked(read_yaml(text), str(PARAMS)) != params:
        raise ParamsError(f"{PARAMS}: a value would not read back as it is; nothing was written")
    if path.is_file() and path.read_bytes() != text.encode() and not force and edited(root):
        raise ParamsError(
            f"{PARAMS} has edits that git does not hold; commit them, or overwrite with --force"
        )
    first()
    write_text(path, text)
    write_text(root / WRITTEN, f"{file_digest(path)}\n")


def edited(root: Path) -> bool:
    """Whether params.yaml is neither what git holds nor what a preset wrote last."""
    written = root / WRITTEN
    if written.is_file() and written.read_bytes().decode().strip() == file_digest(root / PARAMS):
        return False
    try:
        status = run_git(root, "status", "--porcelain", "--", str(PARAMS))
    except MiniGPTError:
        return True
    return bool(status.returncode or status.stdout.strip())


def to_yaml(config: BaseModel, indent: str = "", order: Sequence[str] = ()) -> list[str]:
    """Each field as YAML text, its docstring as a comment; `kind` and what `order` names first."""
    fields = type(config).model_fields
    keys = [*order, *([] if "kind" not in fields else ["kind"]), *fields]
    return [
        entry(fields[name].alias or name, getattr(config, name), fields[name].description, indent)
        for name in dict.fromkeys(keys)
    ]


def entry(key: str, value: Any, description: str | None, indent: str) -> str:
    """One key with its comment: behind the value where it fits, above it elsewhere."""
    key = scalar(key)
    comment = " ".join((description or "").split())
    lines = textwrap.wrap(comment, WIDTH - 2 - len(indent))
    above = "".join(f"{indent}# {line}\n" for line in lines)
    if isinstance(value, BaseModel):
        return f"{above}{indent}{key}:\n" + "".join(to_yaml(value, indent + "  "))
    if isinstance(value, dict) and value and isinstance(next(iter(value.values())), BaseModel):
        inner = "".join(entry(name, item, None, indent + "  ") for name, item in value.items())
        return f"{above}{indent}{key}:\n{inner}"
    line = f"{indent}{key}: {flow(value)}"
    if comment and len(line) + len(comment) + 4 <= WIDTH:
        return f"{line}  # {comment}\n"
    if len(line) > WIDTH and isinstance(value, list | tuple):
        line = "\n".join([f"{indent}{key}:", *(f"{indent}  - {flow(item)}" for item in value)])
    return f"{above}{line}\n"


def flow(value: Any) -> str:
    """A value in YAML's flow style, on one line."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(flow, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in value.items()) + "}"
    return scalar(value)


def scalar(value: Any) -> str:
    """A value that holds no others, by YAML's own writer; quoted where a word could be mistaken."""
    plain = dump(value)
    if isinstance(value, str):
        # Plain only outside of a list, or a line end to some readers and not to others.
        special = set(value) & set(",[]{}") or not value.isprintable()
        if special or (plain == value and is_number(value)):
            return dump(value, style='"')
    return plain


def dump(value: Any, style: str | None = None) -> str:
    """A scalar on one line."""
    written = yaml.safe_dump(value, allow_unicode=True, width=10**6, default_style=style)
    return str(written).removesuffix("\n").removesuffix("\n...")


def is_number(value: str) -> bool:
    """Whether some YAML (1.2, as DVC reads it) takes a word for a number: 1e3, 0o17."""
    try:
        float(value)
    except ValueError:
        return value[:2] in ("0o", "0x")
    return True
