from minigpt.data.checks import drop, read_dropped, write_dropped
from minigpt.data.config import Validation
from minigpt.data.document import in_order
from minigpt.digest import file_digest


def test_good_documents_all_stay(documents):
    assert drop(documents, Validation()) == (in_order(documents), [])


def test_an_empty_document_goes(documents, change):
    documents[0] = change(documents[0], text=" \n")
    remaining, gone = drop(documents, Validation())
    assert len(remaining) == 11
    assert [(d.doc_id, d.reason) for d in gone] == [(documents[0].doc_id, "empty")]


def test_of_two_equal_texts_the_held_out_one_stays(documents, change):
    documents[0] = change(documents[0], text=documents[5].text)
    _, gone = drop(documents, Validation())
    assert [(d.doc_id, d.reason, d.detail) for d in gone] == [
        (documents[0].doc_id, "duplicate", f"same text as {documents[5].doc_id}")
    ]


def test_an_excluded_digest_goes_whole_or_by_its_beginning(documents):
    for digest in (documents[3].sha256, documents[3].sha256[:12]):
        _, gone = drop(documents, Validation(exclude=(digest,)))
        assert [(d.doc_id, d.reason) for d in gone] == [(documents[3].doc_id, "excluded")]


def test_the_digest_of_a_file_excludes_every_piece_of_it(documents, change):
    file = "f" * 64
    documents[0] = change(documents[0], origin=f"{file}:a.txt")
    documents[5] = change(documents[5], origin=f"{file}:a.txt")
    _, gone = drop(documents, Validation(exclude=(file,)))
    assert [d.doc_id for d in gone] == [documents[0].doc_id, documents[5].doc_id]


def test_an_excluded_text_does_not_take_its_duplicate_s_place(documents, change):
    documents[0] = change(documents[0], text=documents[1].text)
    _, gone = drop(documents, Validation(exclude=(documents[1].sha256,)))
    assert [d.reason for d in gone] == ["excluded", "excluded"]


def test_what_was_dropped_is_written_without_its_text_and_reads_back(tmp_path, documents, change):
    documents[0] = change(documents[0], text=documents[5].text)
    _, gone = drop(documents, Validation())
    path = tmp_path / "dropped.parquet"
    write_dropped(path, gone)
    first = file_digest(path)
    assert read_dropped(path) == gone
    write_dropped(path, gone)
    assert file_digest(path) == first
    assert documents[0].text.splitlines()[0].encode() not in path.read_bytes()


def test_nothing_dropped_is_a_file_too(tmp_path):
    write_dropped(tmp_path / "dropped.parquet", [])
    assert read_dropped(tmp_path / "dropped.parquet") == []
