"""`minigpt preset local`: a person's folder is looked through, judged, and only then copied."""

import json
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from minigpt.data.archives import Member
from minigpt.data.checks import Dropped, drop
from minigpt.data.document import Document
from minigpt.data.download import documents_of
from minigpt.data.expectations import replacement_detail
from minigpt.data.folder import Folder, look_into, named, shown
from minigpt.data.readers import SUFFIXES
from minigpt.data.sources.local import refuse_unfit
from minigpt.data.splits import deal
from minigpt.data.text import ICONV, SURROGATE
from minigpt.digest import IGNORED, file_digest
from minigpt.errors import DataError, ParamsError
from minigpt.evaluation.passages import cut
from minigpt.files import new_folder, write_json
from minigpt.log import say
from minigpt.params import Params
from minigpt.presets import checked, dumped, load_preset, merge, with_exclusions
from minigpt.roles import FINETUNE, PRETRAIN

PASSAGES = (500, 250, 100)
"""Shorter passages to judge by, in bytes, where there are too few of the usual length."""


@dataclass(frozen=True)
class OwnText:
    """A folder that can be trained on, and what is to become of it."""

    name: str
    folder: Folder
    documents: list[Document]
    dropped: list[Dropped]
    passages: int
    """In the test text, at the length that `params` say."""
    params: Params
    target: Path

    @property
    def said(self) -> Iterator[str]:
        """What was taken and what was not, a line each."""
        suffixes = Counter(PurePosixPath(path).suffix.lower() for path in self.folder.files)
        read = ", ".join(f"{suffix} {n}" for suffix, n in sorted(suffixes.items()))
        count = len(self.folder.files)
        line = f"{count:,} file{'s' * (count != 1)} read ({read})"
        yield " · ".join(filter(None, (line, self.folder.said)))
        if self.folder.unreadable:
            yield f"not readable: {named(self.folder.unreadable)}"
        if links := {path: f"leads to {shown(str(to))}" for path, to in self.folder.links.items()}:
            yield f"links followed: {named(links)}"
        splits = Counter(document.split for document in self.documents)
        size = sum(document.n_bytes for document in self.documents) / 1e6
        works = len({document.work for document in self.documents})
        yield (
            f"{size:.1f} MB · {works:,} works · train {splits['train']:,}, "
            f"validation {splits['val']:,}, test {splits['test']:,}"
        )
        if self.dropped:
            first = self.dropped[0]
            named_one = f"{shown(first.doc_id)}: {shown(first.detail)}"
            yield f"left out as texts: {counted(self.dropped)} ({named_one})"
        wanted, wide = self.params.gate.min_passages, self.params.evaluate.passage_bytes
        yield (
            f"enough for a gate that can tell versions apart ({wanted} passages): "
            f"{'yes' if self.passages >= wanted else 'NO'}, {self.passages:,} of {wide:,} bytes"
        )
        if self.passages < wanted:
            yield "a second version will be refused: add text, or lower gate.min_passages"

    def copy(self) -> None:
        """Put the texts in the place of what was copied before; a kill leaves the old ones.

        Raises:
            DataError: a text has just gone, or there is no room; what was there stays.
        """
        if self.in_place:
            return
        gone = copied_before(self.target).keys() - self.folder.files.keys()
        digests = {}
        with new_folder(self.target) as part:
            for path, file in self.folder.files.items():
                (part / path).parent.mkdir(parents=True, exist_ok=True)
                copy_file(file, part / path)
                digests[path] = file_digest(part / path)
        write_json(record_of(self.target), digests)
        if gone:
            say(
                f"removed from data/local/{self.name} what {shown(str(self.folder.root))} "
                f"no longer holds: {len(gone)} files"
            )

    @property
    def in_place(self) -> bool:
        """The person works in data/local itself."""
        return self.folder.root.resolve() == self.target.resolve()


def plan_own_text(root: Path, path: Path, *, force: bool = False) -> OwnText:
    """The default preset with the text of a folder to fine-tune on; changes nothing yet.

    `force`: replace files in data/local that were not copied there.

    Raises:
        ParamsError: it is no folder, holds no text or the project itself, or has the name of
            another source.
        DataError: a text cannot be used, or data/local holds files of the person's own.
    """
    path = path.expanduser()
    formats = ", ".join(SUFFIXES)
    if not path.is_dir():
        raise ParamsError(f"{path} is not a folder; give one that holds {formats} files")
    if SURROGATE.search(str(path)):
        raise ParamsError(f"{shown(str(path))}: its name is not UTF-8; rename the folder")
    name = name_of(path)
    base = load_preset(root, "local")
    sources = {
        key: source.model_dump(mode="json")
        for key, source in base.sources.items()
        if source.role == PRETRAIN.name
    }
    if name in sources:
        raise ParamsError(f"{path}: {name} is the pretraining source's name; rename the folder")
    own = {
        "kind": "local",
        "path": f"data/local/{name}",
        "role": FINETUNE.name,
        "licence": "private",
    }
    changes = {"sources": sources | {name: own}, "release": {"name": f"minigpt-{name}"}}
    params = with_exclusions(root, checked(merge(dumped(base), changes), "presets/local.yaml"))
    source = params.sources[name]
    folder = look_into(path, source.chooses)
    if not folder.files:
        what = "; ".join(filter(None, (folder.said, named(folder.unreadable))))
        raise ParamsError(f"{path} holds no {formats} file{': ' * bool(what)}{what}")
    target = root / own["path"]
    refuse_around(target, folder)
    if folder.root.resolve() == target.resolve():
        refuse_unfit(str(path), folder)  # download reads these very files
    refuse_unfit(str(path), Folder(path, folder.files))
    if not force:
        refuse_own_files(target, folder)
    documents, dropped = documents_in(name, params, folder)
    refuse_unusable(name, params, path, documents, dropped)
    tests = [document.text.encode() for document in documents if document.split == "test"]
    passages, wide = 0, params.evaluate.passage_bytes
    for wide in (params.evaluate.passage_bytes, *PASSAGES):
        passages = sum(len(cut(text, wide)) - 1 for text in tests)
        if passages >= 2 * params.gate.min_passages:
            break
    changes = {"evaluate": {"passage_bytes": wide}}
    params = checked(merge(dumped(params), changes), "presets/local.yaml")
    return OwnText(name, folder, documents, dropped, passages, params, target)


def name_of(path: Path) -> str:
    """A folder's name as the name of a source and of a registered model: letters, digits, _ . -."""
    name = unicodedata.normalize("NFC", path.resolve().name).lower()
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "text"


def counted(dropped: list[Dropped]) -> str:
    """`empty 1, near-duplicate 2`."""
    reasons = Counter(entry.reason for entry in dropped)
    return ", ".join(f"{why} {n:,}" for why, n in sorted(reasons.items()))


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
        raise DataError(f"{shown(str(file))}: {error.strerror}. Nothing was changed") from error


def copy_file(file: Path, copy: Path) -> None:
    """Copy a file's bytes.

    Raises:
        DataError: it was there when the folder was looked through, and has just gone.
    """
    try:
        shutil.copyfile(file, copy)
    except FileNotFoundError as error:
        raise DataError(
            f"{shown(str(file))}: {error.strerror}. Nothing was changed. Run the same command again"
        ) from error


def refuse_around(target: Path, folder: Folder) -> None:
    """Refuse a folder that holds the place of its own copy: each copy would hold the one before.

    Raises:
        ParamsError: names the folder, or the link in it.
    """
    place = target.resolve()
    for around in (folder.root, *(folder.root / link for link in folder.links)):
        inside = around.resolve()
        if place.is_relative_to(inside) and not (around == folder.root and place == inside):
            raise ParamsError(
                f"{shown(str(around))} holds {target}, where its texts would be copied to. Give "
                "the folder that holds your text only. Nothing was changed"
            )


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
        raise DataError(
            f"{path}: {len(wrong):,} of {len(documents):,} texts cannot be used\n"
            + "\n".join(f"  {shown(text)}   {why}" for text, why in list(wrong.items())[:10])
            + f"\nMend them{cure} or move them away. Nothing was changed"
        )
    if lack := too_little(name, params, documents):
        left_out = f" (left out as texts: {counted(dropped)})" if dropped else ""
        raise DataError(f"{path}: {lack}{left_out}. Nothing was changed")


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


def plan_problems(root: Path, params: Params) -> list[str]:
    """What is known to be too little before anything runs: of roles whose text all lies here."""
    problems = []
    for role in params.windows:
        names = [name for name, source in params.sources.items() if source.role == role]
        sources = [params.sources[name] for name in names]
        if len(names) == 1 and sources[0].local and (root / sources[0].place).is_dir():
            folder = look_into(root / sources[0].place, sources[0].chooses)
            documents, _ = documents_in(names[0], params, folder)
            problems.append(too_little(names[0], params, documents))
    return [problem for problem in problems if problem]


def record_of(target: Path) -> Path:
    """The list of what was copied to a folder of data/local, beside it."""
    return target.with_name(f".{target.name}.json")


def copied_before(target: Path) -> Mapping[str, str]:
    """Path → sha256 of what the last copy put there."""
    try:
        record: Any = json.loads(record_of(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def refuse_own_files(target: Path, folder: Folder) -> None:
    """Refuse to replace a file of data/local that was put or changed there by hand.

    Raises:
        DataError: names them.
    """
    if folder.root.resolve() == target.resolve() or not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise DataError(
            f"data/local/{target.name} is a {'link' if target.is_symlink() else 'file'} that was "
            "put there. Move it, or drop it with --force. Nothing was changed"
        )
    before, own = copied_before(target), {}
    for file in sorted(path for path in target.rglob("*") if path.is_file()):
        path = file.relative_to(target).as_posix()
        if file.name in IGNORED:
            continue
        digest = file_digest(file)
        new = folder.files.get(path)
        if before.get(path) != digest and not (new and file_digest(new) == digest):
            own[path] = "changed there" if path in before or new else "put there"
    if own:
        raise DataError(
            f"data/local/{target.name} holds {len(own):,} files that {shown(str(folder.root))} "
            f"does not: {named(own)}. Move them, or drop them with --force. Nothing was changed"
        )
