"""Which documents are held out: by work, never by line."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

from minigpt.data.document import KEEP_FIRST, Document, in_order
from minigpt.data.near_duplicates import copies
from minigpt.data.source import AutoSplits, BaseSource, Splits, WorkSplits, YearSplits
from minigpt.data.text import cut_tail
from minigpt.errors import DataError

FEW_WORKS = 5
HELD_OUT = 0.1
"""Share of the text that each of validation and test gets where nothing is stated."""
YEAR = re.compile(r"(?<!\d)\d{4}(?!\d)")


def deal(
    sources: Mapping[str, BaseSource], texts: Mapping[str, list[Document]]
) -> dict[str, tuple[list[Document], str | None]]:
    """By source its documents with their splits, and a remark where texts had to be cut.

    What is there twice, in whichever source, is marked before anything is dealt out: a copy is
    neither counted nor cut, and validate drops it. Of two copies the one stays that params.yaml
    holds out by name.
    """
    stated = {
        name: assign(name, documents, sources[name].splits)
        for name, documents in sorted(texts.items())
        if not isinstance(sources[name].splits, AutoSplits)
    }
    known = [*(d for dealt, _ in stated.values() for d in dealt)]
    known += [d for name in sorted(texts.keys() - stated.keys()) for d in in_order(texts[name])]
    known.sort(key=lambda d: KEEP_FIRST.get(d.split, len(KEEP_FIRST)))
    marks = {
        known[place].doc_id: {"copy_of": known[copy.of].doc_id, "resemblance": round(copy.share, 2)}
        for place, copy in copies([document.text for document in known]).items()
        if known[place].sha256 != known[copy.of].sha256 or not known[place].split
    }

    def marked(documents: list[Document]) -> list[Document]:
        return [d.with_facts(marks[d.doc_id]) if d.doc_id in marks else d for d in documents]

    dealt = {name: (marked(documents), remark) for name, (documents, remark) in stated.items()}
    for name in texts.keys() - stated.keys():
        dealt[name] = assign(name, marked(texts[name]), sources[name].splits)
    return dict(sorted(dealt.items()))


def assign(
    source: str, documents: list[Document], rule: Splits
) -> tuple[list[Document], str | None]:
    """The documents of one source with their splits, and a remark where texts had to be cut.

    Raises:
        DataError: a glob matches no work, a work is in two splits, or a work has no year.
    """
    works = sorted({document.work for document in documents if document.text})
    if isinstance(rule, AutoSplits):
        once = [document for document in documents if not is_copy(document)]
        works = sorted({document.work for document in once if document.text})
        split_of = by_share(once)
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


def is_copy(document: Document) -> bool:
    """Whether `deal` marked it."""
    return "copy_of" in document.facts


def by_name(source: str, works: list[str], rule: WorkSplits) -> dict[str, str]:
    """Work → split from globs over their names."""
    split_of = dict.fromkeys(works, "train")
    for split, globs in (("val", rule.val), ("test", rule.test)):
        for glob in globs:
            matching_works = [work for work in works if fnmatchcase(work, glob)]
            if not matching_works:
                raise DataError(
                    f"sources.{source}.splits.{split}: {glob!r} matches none of {len(works)} works "
                    f"({', '.join(works[:5])}, …)"
                )
            for work in matching_works:
                if split_of[work] not in ("train", split):
                    raise DataError(f"sources.{source}.splits: {work} is in both val and test")
                split_of[work] = split
    return split_of


def by_year(source: str, work: str, rule: YearSplits) -> str:
    """The split of a work by the year in its name."""
    match = YEAR.search(work)
    if match is None:
        raise DataError(f"sources.{source}.splits: no year of four digits in the name {work!r}")
    year = int(match.group())
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
        split_size = 0
        while small and split_size < HELD_OUT * total:
            work = small.pop(0)
            split_of[work] = split
            split_size += sizes[work]
        if not split_size:
            return None
    return split_of


def is_tail(document: Document) -> bool:
    """Whether `cut_document` cut it off the end of another."""
    return document.split != "train" and document.work.endswith(f" ({document.split})")


def cut_document(document: Document) -> Iterator[Document]:
    """A document as three: its tail becomes works of their own. Too short, it trains whole."""
    parts = None if is_copy(document) else cut_tail(document.text)
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
