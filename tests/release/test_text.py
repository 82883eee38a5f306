"""The text that other forms of a model are held beside."""

import hashlib
from dataclasses import replace

import pytest

from minigpt.data.document import DOCUMENTS, Document, read_documents, write_documents
from minigpt.errors import DataError
from minigpt.release.text import first_ids, held_out_texts, shortened, training_windows
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig


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


def test_training_windows_are_spread_evenly_over_each_source(tiny):
    tokenizer = Tokenizer.load(tiny / "models/tokenizer")
    windows = training_windows(tiny / "data/documents", tokenizer, tokens=120, length=12)
    assert windows.shape == (10, 12)
    by_source = {
        source: [
            d.text for d in read_documents(tiny / "data/documents", source=source, split="train")
        ]
        for source in ("plays", "speeches")
    }
    for rows, [text] in zip(windows.split(5), by_source.values(), strict=True):
        assert all(row[0] == tokenizer.eot_id for row in rows)
        # The first byte of a character of three may be cut off, and is left out.
        starts = [text.encode()[len(text.encode()) * i // 5 :] for i in range(5)]
        for row, rest in zip(rows, starts, strict=True):
            written = tokenizer.decode_bytes(row[1:].tolist())
            assert rest.decode(errors="ignore").encode().startswith(written)


def test_a_window_goes_on_in_the_next_document_and_from_the_last_to_the_first(tmp_path):
    records = [record(n, f"text {n} of five.\n") for n in range(5)]
    write_documents(tmp_path / DOCUMENTS, records)
    tokenizer = Tokenizer.train(["a text of five and more"], TokenizerConfig(vocab_size=290))
    [row] = training_windows(tmp_path, tokenizer, tokens=200, length=200).tolist()
    pieces = tokenizer.decode(row).split("<|endoftext|>")[1:]
    assert pieces[:6] == [records[n % 5].text for n in range(6)]


def test_without_training_text_there_is_nothing_to_fit_to(tmp_path, tiny):
    write_documents(tmp_path / DOCUMENTS, [replace(record(0, "A text.\n"), split="test")])
    tokenizer = Tokenizer.load(tiny / "models/tokenizer")
    with pytest.raises(DataError, match="no document has split train"):
        training_windows(tmp_path, tokenizer, tokens=100, length=10)


def record(n, text):
    return Document(
        doc_id=f"r/{n}", text=text, source="r", role="finetune", work=str(n), lang="und",
        licence="private", split="train", sha256=str(n) * 64, origin="",
    )  # fmt: skip
