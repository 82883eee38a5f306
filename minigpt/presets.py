"""Presets: params.yaml written afresh from the defaults in code and a preset's few differences."""

import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from minigpt.errors import MiniGPTError, ParamsError
from minigpt.files import write_text
from minigpt.git import run_git
from minigpt.log import say
from minigpt.params import PARAMS, STAGE_PARAMS, Params, explain
from minigpt.roles import MAIN, PRETRAIN

TEXT_SUFFIXES = {".txt", ".md", ".jsonl"}
WIDTH = 100


def preset_names(root: Path) -> list[str]:
    """The presets of this checkout."""
    return sorted(path.stem for path in (root / "presets").glob("*.yaml"))


def load_preset(root: Path, name: str) -> Params:
    """Defaults in code plus the differences in presets/NAME.yaml.

    Raises:
        ParamsError: there is no such preset, or it holds values that are not allowed.
    """
    path = root / "presets" / f"{name}.yaml"
    if not path.is_file():
        raise ParamsError(f"no preset {name!r}; there are: {', '.join(preset_names(root))}")
    return checked(
        merge(defaults(), yaml.safe_load(path.read_text(encoding="utf-8")) or {}), path.name
    )


def local_preset(root: Path, folder: Path) -> Params:
    """The default preset with the text of `folder`, copied to data/local/NAME, to fine-tune on.

    Raises:
        ParamsError: `folder` is no folder, holds no text, or has the name of another source.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise ParamsError(
            f"{folder} is not a folder; give one that holds .txt, .md or .jsonl files"
        )
    # Letters, digits, _ . - are what the name of a source and of a registered model may hold.
    name = re.sub(r"[^\w.-]+", "-", folder.resolve().name.lower()).strip("-.") or "text"
    target = root / "data" / "local" / name
    found = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix in TEXT_SUFFIXES]
    if not found:
        raise ParamsError(f"{folder} holds no .txt, .md or .jsonl file")
    base = load_preset(root, "local")
    kept = {
        key: source.model_dump(mode="json")
        for key, source in base.sources.items()
        if source.role == PRETRAIN.name
    }
    if name in kept:
        raise ParamsError(f"{folder}: {name} is the pretraining source's name; rename the folder")
    own = {"kind": "local", "path": f"data/local/{name}", "role": MAIN.name, "licence": "private"}
    changes = {"sources": kept | {name: own}, "release": {"name": f"minigpt-{name}"}}
    params = checked(merge(dumped(base), changes), "presets/local.yaml")
    if folder.resolve() != target.resolve():
        copies = {target / path.relative_to(folder): path for path in found}
        for copy, path in copies.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        gone = [p for p in target.rglob("*") if p.suffix in TEXT_SUFFIXES and p not in copies]
        for path in gone:  # what was deleted at home is not trained on any longer
            path.unlink()
        if gone:
            say(f"removed from data/local/{name} what {folder} no longer holds: {len(gone)} files")
    return params


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
        raise ParamsError("\n".join(explain(error, file))) from error


def with_exclusions(root: Path, params: Params) -> Params:
    """`params` with what the present params.yaml excludes too: what was taken down stays out."""
    try:
        values = yaml.safe_load((root / PARAMS).read_text(encoding="utf-8"))
        kept = [*values["validate"]["exclude"], *params.validation.exclude]
        return checked(merge(dumped(params), {"validate": {"exclude": kept}}), str(PARAMS))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError, ParamsError):
        return params  # there is none, or not one that can be read: it is what gets mended


def write_params(root: Path, params: Params, preset: str, *, force: bool = False) -> None:
    """Write params.yaml with every value and its meaning.

    Raises:
        ParamsError: params.yaml has edits that git does not hold, and `force` was not given.
    """
    path = root / PARAMS
    text = f"# Preset {preset}: what changes the result. Afresh: minigpt preset {preset}\n"
    order = dict.fromkeys(name for kind in STAGE_PARAMS.values() for name in kind.model_fields)
    text += "".join(f"\n{section}" for section in to_yaml(params, order=tuple(order)))
    if path.is_file() and path.read_bytes() != text.encode() and not force and edited(root):
        raise ParamsError(
            f"{PARAMS} has edits that git does not hold; commit them, or overwrite with --force"
        )
    write_text(path, text)


def edited(root: Path) -> bool:
    """Whether params.yaml differs from what git holds, or no git can tell."""
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
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and set(value) & set("\n,[]{}"):  # plain only outside of a list
        return json.dumps(value, ensure_ascii=False)
    return yaml.safe_dump(value, allow_unicode=True, width=10_000).splitlines()[0]
