"""The text that other forms of a model are held beside."""

import hashlib

import pytest

from minigpt.data.document import DOCUMENTS, Document, read_documents, write_documents
from minigpt.errors import DataError
from minigpt.release.text import first_ids, held_out_texts, shortened
from minigpt.tokenizer.bpe import Tokenizer


def test_every_document_has_its_share_of_a_source(tiny):
    texts = held_out_texts(tiny / "data/documents", max_bytes=98)
    assert [document.n_bytes for document in texts["plays"]] == [98]
    # A share is 49 bytes; in the first document ’ would take bytes 48 to 50.
    assert [document.n_bytes for document in texts["speeches"]] == [47, 49]


def test_a_short_document_is_left_whole(tiny):
    documents = read_documents(tiny / "data/documents")
    assert shortened(documents, max_bytes=10**6) == documents


def test_of_many_short_documents_whole_ones_fill_the_bytes():
    records = [
        Document(doc_id=f"r/{n}", text=f"Record {n} says a word or two.\n", source="r",
                 role="finetune", work=str(n), lang="und", licence="private", split="test",
                 sha256=hashlib.sha256(str(n).encode()).hexdigest(), origin="")
        for n in range(5000)
    ]  # fmt: skip
    chosen = shortened(records, max_bytes=30_000)
    assert sum(document.n_bytes for document in chosen) == 30_000
    assert sum(document not in records for document in chosen) <= 1  # the last one taken
    assert [int(document.work) for document in chosen] == sorted(int(d.work) for d in chosen)
    assert max(int(document.work) for document in chosen) > 4000  # from all over the source
    assert shortened(records, max_bytes=30_000) == chosen


def test_ids_are_of_the_fine_tuning_text_and_start_a_document(tiny):
    tokenizer = Tokenizer.load(tiny / "models/tokenizer")
    texts = held_out_texts(tiny / "data/documents", max_bytes=100)
    ids = first_ids(tokenizer, texts, wanted=10)
    assert ids.shape == (1, 10)
    text = texts["speeches"][0].text
    assert ids[0].tolist() == [tokenizer.eot_id, *tokenizer.encode(text)][:10]


def test_no_test_text_is_refused(tmp_path):
    write_documents(tmp_path / DOCUMENTS, [])
    with pytest.raises(DataError, match="no document has split test"):
        held_out_texts(tmp_path, max_bytes=100)
