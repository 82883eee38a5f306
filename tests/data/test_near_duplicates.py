"""Copies are gone before splits are dealt, however little they differ."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.data import near_duplicates
from minigpt.data.checks import drop
from minigpt.data.config import Validation
from minigpt.data.corpora import DownloadParams
from minigpt.data.document import read_documents
from minigpt.data.download import download
from minigpt.data.near_duplicates import COMPARED, RESEMBLANCE, copies, resemblance, runs_of
from minigpt.data.source import AutoSplits, WorkSplits
from minigpt.data.sources.local import LocalSource

RANDOM = random.Random(3)
WORDS = [f"w{n}" for n in range(3000)]


def text(words: int = 200) -> str:
    return " ".join(RANDOM.choices(WORDS, k=words))


def edited(original: str, changes: int) -> str:
    words = original.split()
    for place in RANDOM.sample(range(len(words)), changes):
        words[place] = "other"
    return " ".join(words)


@pytest.mark.parametrize(
    "change",
    [str.upper, lambda t: t.replace(" ", "\n"), lambda t: f"  {t.replace(' ', ' , ')}!", str.title],
)
def test_blanks_case_and_marks_make_no_other_text(change):
    original = text()
    assert copies([text(), original, change(original)])[2].of == 1
    assert copies(["Yes, it is.", "No.", change("Yes, it is.")])[2].share == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [("今天天气很好。", "今天天气很好"), ("สวัสดี ครับ", "สวัสดีครับ"), ("👋 hi", "👋 HI!")],
)
def test_in_any_script(one, other):
    assert copies([one, other])[1].of == 0
    assert copies([one, f"{other}x"]) == {}


def test_marks_that_carry_the_sense_count():
    assert copies(["กิน", "กน", "C", "C++", "...", "!!!", "", ""]) == {}


def test_a_few_other_words_make_no_other_text_and_many_do():
    originals = [text() for _ in range(50)]
    assert sorted(copies([*originals, *(edited(t, 2) for t in originals)])) == [*range(50, 100)]
    assert copies([*originals, *(edited(t, 30) for t in originals)]) == {}


def test_a_copy_of_a_copy_is_named_after_the_first():
    original = text()
    copy_at = copies([original, edited(original, 1), edited(original, 2)])
    assert {place: copy.of for place, copy in copy_at.items()} == {1: 0, 2: 0}


@given(st.lists(st.text(), max_size=8))
def test_any_texts_can_be_compared(texts):
    copy_at = copies(texts)
    assert all(copy.of < place and copy.of not in copy_at for place, copy in copy_at.items())


def test_what_is_said_of_a_pair_is_its_resemblance():
    original = text()
    other = edited(original, 2)
    assert copies([original, other])[1].share == resemblance(runs_of(original), runs_of(other))
    assert 0.9 <= copies([original, other])[1].share < 1
    assert RESEMBLANCE < 0.9


def test_a_text_is_compared_with_few_others_even_where_all_are_much_alike(monkeypatch):
    compared = []
    monkeypatch.setattr(
        near_duplicates, "resemblance", lambda *pair: compared.append(pair) or resemblance(*pair)
    )
    form, count = text(300), 400
    forms = [edited(form, 30) for _ in range(count)]  # each pair shares half of its runs
    assert copies(forms) == {}
    assert count < len(compared) <= COMPARED * count


@pytest.fixture
def go(workspace, run):
    """Download folders (name → path → text) and drop what must go."""

    def go(splits, **folders):
        sources = {}
        for name, files in folders.items():
            folder = workspace / "data" / "local" / name
            folder.mkdir(parents=True)
            for path, content in files.items():
                (folder / path).write_text(content)
            sources[name] = LocalSource(role="finetune", licence="private",
                                        path=f"data/local/{name}", splits=splits)  # fmt: skip
        local, archives, raw = (Path("data") / name for name in ("local", "archives", "raw"))
        download(local, archives, raw, DownloadParams(sources=sources), run)
        return drop(read_documents(raw), Validation())

    return go


def test_no_copy_is_trained_on_and_judged_by(go):
    originals = {f"{n:02}.txt": text() for n in range(20)}
    again = {f"again-{path}": content.title() + " " for path, content in originals.items()}
    documents, gone = go(AutoSplits(), letters=originals | again)
    assert len(documents) == 20
    assert {d.split for d in documents} == {"train", "val", "test"}
    assert {entry.reason for entry in gone} == {"near-duplicate"}
    assert gone[0].detail == "the same as letters/00.txt but for blanks, case and marks"
    held_out = sum(d.n_bytes for d in documents if d.split != "train")
    assert held_out >= 0.2 * sum(d.n_bytes for d in documents)  # shares of what is there once


def test_a_copy_of_a_text_that_is_cut_in_three_is_not_cut_too(go):
    original = "".join(f"{text(20)}\n\n" for _ in range(30))
    documents, gone = go(AutoSplits(), letters={"a.txt": original, "b.txt": f"{original}\nEnd."})
    assert [(d.doc_id, d.split) for d in documents] == [
        ("letters/a.txt", "train"), ("letters/a.txt (test)", "test"), ("letters/a.txt (val)", "val")
    ]  # fmt: skip
    assert [entry.doc_id for entry in gone] == ["letters/b.txt"]


def test_of_two_copies_the_one_stays_that_is_held_out_by_name(go):
    original = text()
    files = {"a.txt": original, "b.txt": f"{original}!", "c.txt": text(), "d.txt": text()}
    documents, gone = go(WorkSplits(val=("d",), test=("b",)), letters=files)
    assert [d.work for d in documents] == ["b", "c", "d"]
    assert [entry.work for entry in gone] == ["a"]


def test_a_copy_in_another_source_goes_too(go):
    shared = text()
    files = {f"{n}.txt": text() for n in range(5)}
    documents, gone = go(AutoSplits(), first={**files, "x.txt": shared}, second={
        **{f"{n}.txt": text() for n in range(5)}, "y.txt": shared.upper()})  # fmt: skip
    assert len(documents) == 11
    assert [(e.doc_id, e.detail.split(" but")[0]) for e in gone] == [
        ("second/y.txt", "the same as first/x.txt")
    ]
