"""A person's folder, looked through and judged; what a later stage would refuse is refused now."""

import contextlib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minigpt.data.archives import Member
from minigpt.data.checks import Dropped, drop
from minigpt.data.copies import LOCAL
from minigpt.data.document import Document
from minigpt.data.download import documents_of
from minigpt.data.expectations import replacement_detail
from minigpt.data.folder import Folder, look_into, named, shown
from minigpt.data.links import is_watched
from minigpt.data.readers import SUFFIXES
from minigpt.data.sources.local import refuse_unfit
from minigpt.data.splits import deal, is_tail
from minigpt.data.text import ICONV, SURROGATE
from minigpt.errors import DataError, ParamsError
from minigpt.evaluation.passages import cut
from minigpt.files import at_home
from minigpt.graph import UNREADABLE
from minigpt.own_text.copy import copy_folder, drop_copy, refuse_around, refuse_own_files
from minigpt.own_text.own_base import changes_for
from minigpt.own_text.said import counted, said_of
from minigpt.own_text.steps import tokens_per_step
from minigpt.params import PARAMS, Params
from minigpt.presets import (
    checked,
    dumped,
    load_preset,
    merge,
    preset_names,
    with_exclusions,
)
from minigpt.roles import FINETUNE, PRETRAIN, ROLES, Role
from minigpt.yaml12 import read_yaml

PRESET = "presets/local.yaml"
OWN = "own"
"""As a base: none that is built elsewhere, but one that is trained on the text itself."""
NAME_BYTES = 100
"""A file's name may have 255, and this one becomes part of several."""
PASSAGES = (500, 250, 100)
"""Shorter passages to judge by, in bytes, where there are too few of the usual length."""


@dataclass(frozen=True)
class OwnText:
    """A folder that can be trained on, and what is to become of it."""

    root: Path
    """The project."""
    path: Path
    """The folder as it was typed."""
    name: str
    folder: Folder
    documents: list[Document]
    dropped: list[Dropped]
    passages: int
    """In the test text, at the length that `params` say."""
    passages_wanted: int
    """What a gate needs to tell versions apart; where there are fewer, `params` ask for these."""
    params: Params
    target: Path
    """Where a copy lies."""
    linked: bool
    """The folder itself is read on each run."""
    base: str | None
    """The preset whose base is fine-tuned; own: none; None: the default's."""

    @property
    def said(self) -> Iterator[str]:
        """What was taken and what was not, a line each."""
        return said_of(self)

    @property
    def role(self) -> Role:
        """What it is trained on for."""
        return ROLES[self.params.sources[self.name].role]

    @property
    def in_place(self) -> bool:
        """The person works in data/local itself."""
        return self.folder.root.resolve() == self.target.resolve()

    def copy(self) -> None:
        """Put the texts in data/local, if that is asked for and they are not there.

        Raises:
            DataError: a text has just gone, or there is no room; what was there stays.
        """
        if self.in_place:
            return
        if self.linked:
            drop_copy(self.target, self.folder)
        else:
            copy_folder(self.folder, self.target, f" --base {self.base}" if self.base else "")


@contextlib.contextmanager
def nothing_changed() -> Iterator[None]:
    """A block that only looks: what refuses there says so."""
    try:
        yield
    except (ParamsError, DataError) as error:
        raise type(error)(f"{error}. Nothing was changed") from error


@nothing_changed()
def plan_own_text(
    root: Path, path: Path, *, force: bool = False, link: bool = False, base: str | None = None
) -> OwnText:
    """The preset local with the text of a folder; changes nothing yet.

    The text is fine-tuned on: on the default's base, or on that of the preset `base`. Where `base`
    is `own`, tokenizer and base are trained on it, and nothing is fine-tuned. `link`: the folder is
    not copied to data/local. `force`: replace files in data/local that were not copied there.

    Raises:
        ParamsError: it is no folder, holds no text or the project itself, or has the name of
            another source; or there is no preset `base`.
        DataError: a text cannot be used, there is too little, or data/local holds files of the
            person's own.
    """
    typed, path = path, at_home(path)
    formats = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]} files"
    if not path.is_dir():
        cure = f"; give its folder: {path.parent}" if path.is_file() else f", or holds no {formats}"
        raise ParamsError(f"{shown(str(path))} is not a folder{cure}")
    if SURROGATE.search(str(path)):
        raise ParamsError(f"{shown(str(path))}: its name is not UTF-8; rename the folder")
    name = name_of(path)
    target = root / LOCAL / name
    place = place_of(root, path) if link else (LOCAL / name).as_posix()
    params = with_exclusions(root, params_for(root, name, place, base, path))
    around, in_place = root if link else target, path.resolve() == target.resolve()
    if link or not in_place:
        refuse_around(around, [path], linked=link)  # before it is looked through: it may be /
    folder = look_into(path, params.sources[name].chooses)
    if not folder.files:
        what = "; ".join(filter(None, (folder.said, named(folder.unreadable))))
        raise ParamsError(
            f"{path} holds no {formats}{': ' * bool(what)}{what}. Save what it is to learn from as "
            ".txt in UTF-8"
        )
    refuse_around(around, [path / link for link in folder.links], linked=link)
    if link or in_place:
        refuse_unfit(str(path), folder)  # download reads these very files
    refuse_unfit(str(path), Folder(path, folder.files))
    if not force:
        refuse_own_files(target, folder)
    documents, dropped = documents_in(name, params, folder)
    if base == OWN:
        params = checked(merge(dumped(params), own_base_of(path, documents)), PRESET)
    elif params.finetune is not None:
        train_bytes = sum(d.n_bytes for d in documents if d.split == "train")
        size = tokens_per_step(params.finetune, train_bytes, params.model.context_length)
        changes = {FINETUNE.stage: {"tokens_per_step": size}}
        params = checked(merge(dumped(params), changes), PRESET)
    refuse_unusable(name, params, path, documents, dropped)
    tests = [document.text.encode() for document in documents if document.split == "test"]
    passages, length = 0, params.evaluate.passage_bytes
    for length in (params.evaluate.passage_bytes, *PASSAGES):
        passages = sum(len(cut(text, length)) - 1 for text in tests)
        if passages >= 2 * params.gate.min_passages:
            break
    wanted, changes = params.gate.min_passages, {"evaluate": {"passage_bytes": length}}
    if 0 < (enough := min(passages, wanted, passages_before(root, name) or wanted)) < wanted:
        changes["gate"] = {"min_passages": enough}
    params = checked(merge(dumped(params), changes), PRESET)
    return OwnText(
        root, typed, name, folder, documents, dropped, passages, wanted, params, target, link, base
    )


def passages_before(root: Path, name: str) -> int | None:
    """What params.yaml asks the gate for, where it names the source `name` already.

    Its champion may have no more: then no text that is added could replace it.
    """
    try:
        values = read_yaml((root / PARAMS).read_text(encoding="utf-8"))
        return int(values["gate"]["min_passages"]) if name in values["sources"] else None
    except (OSError, *UNREADABLE):
        return None


def params_for(root: Path, name: str, place: str, base: str | None, path: Path) -> Params:
    """params.yaml with the folder called `name`, as far as its texts need not be looked at."""
    bases = [preset for preset in preset_names(root) if preset != "local"]
    if base not in (None, OWN, *bases):
        raise ParamsError(f"--base {base!r}: expected {OWN}, or a preset: {', '.join(bases)}")
    preset = load_preset(root, "local", onto=None if base == OWN else base)
    sources = {
        key: source.model_dump(mode="json")
        for key, source in preset.sources.items()
        if source.role == PRETRAIN.name and base != OWN
    }
    if name in sources:
        raise ParamsError(f"{path}: {name} is the pretraining source's name; rename the folder")
    role = PRETRAIN if base == OWN else FINETUNE
    own = {"kind": "local", "path": place, "role": role.name, "licence": "private"}
    changes: dict[str, Any] = {
        "sources": sources | {name: own},
        "release": {"name": f"minigpt-{name}"},
    }
    if base == OWN:
        changes |= {FINETUNE.stage: None}
    return checked(merge(dumped(preset), changes), PRESET)


def place_of(root: Path, path: Path) -> str:
    """A folder that is linked, as params.yaml names it: for everyone who has it at that place.

    Relative to the project where that is what was typed, ~/… in the user's own folder.

    Raises:
        ParamsError: it lies in the project, where nothing sees its changes.
    """
    inside = path.resolve().is_relative_to(root.resolve())
    if inside and not is_watched(root, path):
        raise ParamsError(
            f"{path} lies in this project, but not in {LOCAL.as_posix()}; leave out --link, and it "
            "is copied there"
        )
    if inside or not path.is_absolute():
        return Path(os.path.relpath(path.absolute(), root)).as_posix()
    home = Path.home()
    if path.is_relative_to(home) and home != Path(path.anchor):
        return f"~/{path.relative_to(home).as_posix()}"
    return str(path)


def own_base_of(path: Path, documents: list[Document]) -> dict[str, Any]:
    """How params.yaml differs where tokenizer and base are trained on these texts.

    Raises:
        DataError: they are too few.
    """
    try:
        return changes_for(sum(document.n_bytes for document in documents))
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def name_of(path: Path) -> str:
    """A folder's name as the name of a source and of a registered model: letters, digits, _ . -."""
    name = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", path.resolve().name).lower())
    short = name.encode()[:NAME_BYTES].decode(errors="ignore")
    return short.strip("-.") or "text"


def documents_in(name: str, params: Params, folder: Folder) -> tuple[list[Document], list[Dropped]]:
    """The documents that the stages would make of a folder's texts, and those they would drop.

    Raises:
        DataError: names the file that cannot be read, and why.
    """
    source, where = params.sources[name], f"{shown(folder.root.as_posix())}/"
    texts = [
        document
        for path, file in folder.files.items()
        for document in documents_of(name, source, Member(path, data_of(file)), where=where)
    ]
    dealt, _ = deal({name: source}, {name: texts})[name]
    return drop(dealt, params.validation)


def data_of(file: Path) -> bytes:
    """A file's bytes.

    Raises:
        DataError: they cannot be read, though the file could be opened; or it has just gone.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(str(file))}: {error.strerror}") from error


def refuse_unusable(
    name: str, params: Params, path: Path, documents: list[Document], dropped: list[Dropped]
) -> None:
    """Refuse what a later stage would refuse.

    Raises:
        DataError: names the file, or the amount of text, and what is needed.
    """
    validation, wrong, encodings = params.validation, {}, set[str]()
    for document in documents:
        short = document.doc_id.removeprefix(f"{name}/")
        if is_tail(document):
            short = short.removesuffix(f" ({document.split})")
        count = document.text.count("\ufffd")
        if count > validation.max_replacement_characters:
            facts = {"meta": document.facts, "replacements": count}
            wrong[short] = replacement_detail(facts, validation)
            if encoding := ICONV.get(document.facts.get("looks_like", "")):
                encodings.add(encoding)
        elif document.n_bytes > validation.max_document_bytes:
            wrong[short] = (
                f"{document.n_bytes / 1e6:.0f} MB in one text; at most "
                f"{validation.max_document_bytes / 1e6:.0f} MB. Cut it at line ends, for instance: "
                f"split -C 50m {shown(short)!r}"
            )
    if wrong:
        commands = "; ".join(f"iconv -f {name} -t utf-8" for name in sorted(encodings))
        cure = f" ({commands})" if commands else ""
        count = sum(not is_tail(document) for document in documents)
        raise DataError(
            f"{path}: {len(wrong):,} of {count:,} texts cannot be used\n"
            + "\n".join(f"  {shown(text)}   {why}" for text, why in list(wrong.items())[:10])
            + f"\nMend them{cure} or move them away"
        )
    if lack := too_little(name, params, documents):
        left_out = f" (left out as texts: {counted(dropped)})" if dropped else ""
        raise DataError(f"{path}: {lack}{left_out}")


def too_little(name: str, params: Params, documents: list[Document]) -> str:
    """Why the only source of its role has too little text for certain; empty where it may do."""
    sizes = Counter[str]()
    for document in documents:
        # Never more tokens than bytes, and one before each document.
        sizes[document.split] += document.n_bytes + 1
    role = params.sources[name].role
    window = params.windows[role]
    if sizes["train"] < window:
        return (
            f"sources.{name} has {sizes['train']:,} tokens to train on at most, fewer than the "
            f"{window:,} of one window ({role}.phases, model.context_length). Add text"
        )
    for split, word in (("val", "validation"), ("test", "test")):
        if not sizes[split]:
            return (
                f"sources.{name} has no text for {word}: it is too short to cut in three, or "
                "repeats itself. Add text"
            )
    return ""
