"""Which documents are held out: by work, never by line."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from minigpt.data.document import Document
from minigpt.data.source import AutoSplits, Splits, WorkSplits, YearSplits
from minigpt.data.text import cut_tail
from minigpt.errors import DataError

FEW_WORKS = 5
HELD_OUT = 0.1
"""Share of the text that each of validation and test gets where nothing is stated."""
YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")


def assign(
    source: str, documents: list[Document], rule: Splits
) -> tuple[list[Document], str | None]:
    """The documents of one source with their splits, and a remark where texts had to be cut.

    Raises:
        DataError: a glob matches no work, a work is in two splits, or a work has no year.
    """
    works = sorted({document.work for document in documents if document.text})
    if isinstance(rule, AutoSplits):
        split_of = by_share(documents)
        if split_of is None:
            cut = [part for document in documents for part in cut_document(document)]
            return cut, (
                f"{source}: {len(works)} {'work is' if len(works) == 1 else 'works are'} too few "
                "to hold whole ones out; of each the last tenth is test, the one before validation"
            )
    elif isinstance(rule, WorkSplits):
        split_of = by_name(source, works, rule)
    else:
        split_of = {work: by_year(source, work, rule) for work in works}
    return [replace(d, split=split_of.get(d.work, "train")) for d in documents], None


def by_name(source: str, works: list[str], rule: WorkSplits) -> dict[str, str]:
    """Work → split from globs over their names."""
    split_of = dict.fromkeys(works, "train")
    for split, globs in (("val", rule.val), ("test", rule.test)):
        for glob in globs:
            found = [work for work in works if fnmatchcase(work, glob)]
            if not found:
                raise DataError(
                    f"sources.{source}.splits.{split}: {glob!r} matches none of {len(works)} works "
                    f"({', '.join(works[:5])}, …)"
                )
            for work in found:
                if split_of[work] not in ("train", split):
                    raise DataError(f"sources.{source}.splits: {work} is in both val and test")
                split_of[work] = split
    return split_of


def by_year(source: str, work: str, rule: YearSplits) -> str:
    """The split of a work by the year in its name."""
    found = YEAR.search(work)
    if found is None:
        raise DataError(f"sources.{source}.splits: no year of four digits in the name {work!r}")
    year = int(found.group())
    return "train" if year < rule.val_from else "val" if year < rule.test_from else "test"


def by_share(documents: list[Document]) -> dict[str, str] | None:
    """Work → split, whole works for about a tenth of the text each; None where works are few.

    Works are taken in the order of their names' digests, so that a new one moves few others. One
    that holds over a quarter of all text is never held out.
    """
    sizes: dict[str, int] = {}
    for document in documents:
        sizes[document.work] = sizes.get(document.work, 0) + document.n_bytes
    if sum(size > 0 for size in sizes.values()) < FEW_WORKS:
        return None
    total = sum(sizes.values())
    order = sorted(sizes, key=lambda work: hashlib.sha256(work.encode()).hexdigest())
    small = [work for work in order if 0 < sizes[work] <= total / 4]
    split_of = dict.fromkeys(sizes, "train")
    for split in ("test", "val"):
        held = 0
        while small and held < HELD_OUT * total:
            work = small.pop(0)
            split_of[work] = split
            held += sizes[work]
        if not held:
            return None
    return split_of


def cut_document(document: Document) -> Iterator[Document]:
    """A document as three: its tail becomes works of their own. Too short, it trains whole."""
    parts = cut_tail(document.text)
    if parts is None:
        yield replace(document, split="train")
        return
    for split, text in zip(("train", "val", "test"), parts, strict=True):
        end = "" if split == "train" else f" ({split})"
        yield replace(
            document,
            doc_id=document.doc_id + end,
            work=document.work + end,
            text=text,
            split=split,
            sha256=hashlib.sha256(text.encode()).hexdigest(),
        )
