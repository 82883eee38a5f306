import pytest

from minigpt.data.source import AutoSplits, WorkSplits, YearSplits
from minigpt.data.splits import assign, by_share
from minigpt.errors import DataError


@pytest.fixture
def of_works(documents, change):
    """Documents of one source with the given works, a text of `size` each."""

    def make(works: list[str], size: int = 1000):
        return [
            change(
                documents[0], work=work, doc_id=f"s/{work}.txt", split="", text="word\n\n" * size
            )
            for work in works
        ]

    return make


def splits_of(documents) -> dict[str, str]:
    return {document.work: document.split for document in documents}


def test_named_works_are_held_out(of_works):
    documents, remark = assign(
        "s", of_works(["a1", "a2", "b", "c"]), WorkSplits(val=("a*",), test=("b",))
    )
    assert splits_of(documents) == {"a1": "val", "a2": "val", "b": "test", "c": "train"}
    assert remark is None


def test_a_name_that_matches_no_work_is_refused(of_works):
    with pytest.raises(DataError, match=r"sources\.s\.splits\.test: 'x' matches none of 2 works"):
        assign("s", of_works(["a", "b"]), WorkSplits(val=("a",), test=("x",)))


def test_a_work_in_both_splits_is_refused(of_works):
    with pytest.raises(DataError, match="a is in both val and test"):
        assign("s", of_works(["a", "b"]), WorkSplits(val=("a",), test=("a",)))


def test_years_split_by_time(of_works):
    rule = YearSplits(val_from=1991, test_from=2006)
    works = ["1790-Washington-1", "1990-Bush-1", "1991-Bush-1", "2005-Bush-1", "2006-Bush-1"]
    documents, _ = assign("s", of_works(works), rule)
    assert list(splits_of(documents).values()) == ["train", "train", "val", "val", "test"]


def test_a_work_without_a_year_is_refused(of_works):
    with pytest.raises(DataError, match="no year of four digits in the name 'preface'"):
        assign("s", of_works(["preface"]), YearSplits(val_from=1991, test_from=2006))


def test_five_works_or_more_are_held_out_whole(of_works):
    documents = of_works([f"work {n}" for n in range(20)])
    assigned, remark = assign("s", documents, AutoSplits())
    assert remark is None
    count = list(splits_of(assigned).values())
    assert (count.count("train"), count.count("val"), count.count("test")) == (16, 2, 2)
    assert [d.text for d in assigned] == [d.text for d in documents]


def test_a_new_work_leaves_most_others_where_they_were(of_works):
    works = [f"work {n}" for n in range(40)]
    before, after = by_share(of_works(works)), by_share(of_works([*works, "one more"]))
    assert sum(before[work] != after[work] for work in works) <= 4


def test_fewer_than_five_works_give_their_tails(of_works):
    documents, remark = assign("letters", of_works(["a", "b"]), AutoSplits())
    assert splits_of(documents) == {
        "a": "train", "a (val)": "val", "a (test)": "test",
        "b": "train", "b (val)": "val", "b (test)": "test",
    }  # fmt: skip
    assert len({d.doc_id for d in documents}) == 6
    assert remark.startswith("letters: 2 works are too few to hold whole ones out")


def test_one_giant_work_among_crumbs_gives_its_tail(of_works):
    giant, crumbs = of_works(["giant"], 10_000), of_works([f"c{n}" for n in range(6)], 1)
    documents, _ = assign("s", giant + crumbs, AutoSplits())
    train = sum(d.n_bytes for d in documents if d.split == "train")
    assert 0.7 < train / sum(d.n_bytes for d in documents) < 0.9


def test_an_empty_work_moves_no_other(of_works, change):
    documents = of_works([f"work {n}" for n in range(4)])
    empty = change(documents[0], work="empty", doc_id="s/empty.txt", text="")
    assigned, remark = assign("s", [*documents, empty], AutoSplits())
    assert [d for d in assigned if d.text] == assign("s", documents, AutoSplits())[0]
    assert remark.startswith("s: 4 works")
