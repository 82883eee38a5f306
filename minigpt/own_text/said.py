"""What `minigpt preset local` says: what it found, what it left out and why, whether it will do."""

from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from minigpt.data.checks import Dropped
from minigpt.data.copies import preset_command
from minigpt.data.folder import named, shown
from minigpt.data.splits import is_tail
from minigpt.log import size_of
from minigpt.own_text.fit import languages_of, misfit
from minigpt.own_text.own_base import OWN_BASE_BYTES
from minigpt.roles import PRETRAIN

if TYPE_CHECKING:
    from minigpt.own_text.plan import OwnText

FINETUNE_BYTES = 15_000
"""Below, a fine-tuning soon knows the text by heart; 20 kB were measured (docs/benchmarks.md)."""


def said_of(own: "OwnText") -> Iterator[str]:
    """What was taken and what was not, a line each."""
    suffixes = Counter(PurePosixPath(path).suffix.lower() for path in own.folder.files)
    read = ", ".join(f"{suffix} {n}" for suffix, n in sorted(suffixes.items()))
    count = len(own.folder.files)
    line = f"{count:,} file{'s' * (count != 1)} read ({read})"
    yield " · ".join(filter(None, (line, own.folder.said)))
    if own.folder.unreadable:
        yield f"not readable: {named(own.folder.unreadable)}"
    if links := {path: f"leads to {shown(str(to))}" for path, to in own.folder.links.items()}:
        yield f"links followed: {named(links)}"
    splits = Counter(document.split for document in own.documents)
    text_bytes = sum(document.n_bytes for document in own.documents)
    whole = [document for document in own.documents if not is_tail(document)]
    count = len({document.work for document in whole})
    works = f"{count:,} work{'s' * (count != 1)}"
    if len(whole) < len(own.documents):
        works += ", cut in three" if count == 1 else ", each cut in three"
    languages = ", ".join(f"{name} {n:,}" for name, n in languages_of(whole).most_common())
    dealt = (
        f"train {splits['train']:,}, validation {splits['val']:,}, test {splits['test']:,} texts"
    )
    yield " · ".join(filter(None, (size_of(text_bytes), works, languages, dealt)))
    if own.dropped:
        first = own.dropped[0]
        named_one = f"{shown(first.doc_id)}: {shown(first.detail)}"
        yield f"left out as texts: {counted(own.dropped)} ({named_one})"
    is_base = own.role == PRETRAIN
    purpose = "a tokenizer and a base of its own" if is_base else "fine-tuning"
    least = OWN_BASE_BYTES if is_base else FINETUNE_BYTES
    verdict = "yes" if text_bytes >= least else "NO, it will soon be known by heart: add text"
    yield f"enough for {purpose} (at least {size_of(least)}): {verdict}"
    command = preset_command(own.folder.root, link=own.linked)
    yield from () if is_base else misfit(own.root, own.params, own.documents, command)
    wanted, length = own.passages_wanted, own.params.evaluate.passage_bytes
    yield (
        f"enough for a gate that can tell versions apart ({wanted} passages): "
        f"{'yes' if own.passages >= wanted else 'NO'}, {own.passages:,} of {length:,} bytes"
    )
    if not own.passages:
        yield "so no version of it becomes champion: add text"
    elif own.passages < wanted:
        yield "so a later version is held against the first on little: add text to trust the gate"
    elif (asked := own.params.gate.min_passages) < wanted:
        yield f"gate.min_passages stays {asked}: a champion of when there was less may have no more"


def done_with(own: "OwnText") -> str:
    """Where the texts are read from now on, and what to do after an edit."""
    folder = shown(str(own.path))
    if own.in_place:
        return f"nothing was copied: {folder} is read where it is"
    if own.linked:
        return (
            f"nothing was copied: each run reads {folder} as it is then (before a plain dvc repro: "
            "minigpt plan)"
        )
    return (
        f"copied to data/local/{own.name}: after an edit in {folder} run this command again, or "
        "give --link, and each run looks there itself"
    )


def counted(dropped: list[Dropped]) -> str:
    """`empty 1, near-duplicate 2`."""
    reasons = Counter(entry.reason for entry in dropped)
    return ", ".join(f"{why} {n:,}" for why, n in sorted(reasons.items()))
