import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.data.shards import ShardWriter, Tokens, open_tokens
from minigpt.digest import digest
from minigpt.errors import DataError

OWN = "a" * 64


def write(folder, documents, vocab_size=300, shard_tokens=50):
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(
        folder, vocab_size=vocab_size, eot_id=299, tokenizer=OWN, shard_tokens=shard_tokens
    )
    for i, ids in enumerate(documents):
        writer.add("train", f"source{i % 2}", np.array(ids, dtype=np.uint32), n_bytes=3 * len(ids))
    return writer.close()


def in_memory(lengths):
    """Consecutive numbers cut into files of the given lengths."""
    ids = np.arange(sum(lengths))
    shards = tuple(np.split(ids, np.cumsum(lengths)[:-1]))
    return Tokens(shards, np.array([0, len(ids)]), n_bytes=len(ids), vocab_size=300, eot_id=299)


@given(
    documents=st.lists(st.lists(st.integers(0, 298), max_size=40), min_size=1, max_size=12),
    shard_tokens=st.integers(1, 120),
)
@settings(deadline=None, derandomize=True, database=None, max_examples=40)
def test_shards_give_back_the_documents_however_they_are_cut(
    tmp_path_factory, documents, shard_tokens
):
    folder = tmp_path_factory.mktemp("shards")
    write(folder, documents, shard_tokens=shard_tokens)
    tokens = open_tokens(folder, "train", OWN)
    stored = [tokens.ids[a:b].tolist() for a, b in zip(tokens.docs, tokens.docs[1:], strict=False)]
    assert stored == [[299, *ids] for ids in documents]
    longest = max(len(ids) + 1 for ids in documents)
    assert all(len(shard) <= max(shard_tokens, longest) for shard in tokens.shards)


def test_manifest_counts_by_split_source_and_shard(tmp_path):
    manifest = write(tmp_path / "t", [[1] * 30, [2] * 30, [3] * 10])
    train = manifest["splits"]["train"]
    assert (train["tokens"], train["bytes"], train["docs"]) == (73, 210, 3)
    assert train["sources"]["source0"] == {"tokens": 42, "bytes": 120, "docs": 2}
    assert [(s["name"], s["tokens"], s["docs"]) for s in train["shards"]] == [
        ("train-00000", 31, 1),
        ("train-00001", 42, 2),
    ]
    assert json.loads((tmp_path / "t" / "manifest.json").read_text()) == manifest


def test_same_documents_give_the_same_bytes(tmp_path):
    write(tmp_path / "a", [[1, 2], [3]])
    write(tmp_path / "b", [[1, 2], [3]])
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, "<u2"), (2**16 + 1, "<u4")])
def test_ids_take_as_many_bytes_as_the_vocabulary_needs(tmp_path, vocab_size, dtype):
    write(tmp_path / "t", [[vocab_size - 1]], vocab_size=vocab_size)
    data = (tmp_path / "t" / "train-00000.bin").read_bytes()
    assert np.frombuffer(data, dtype).tolist() == [299, vocab_size - 1]
    assert open_tokens(tmp_path / "t", "train", OWN).ids.tolist() == [299, vocab_size - 1]


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    data=st.data(),
)
@settings(deadline=None, derandomize=True, database=None)
def test_rows_run_across_files(lengths, data):
    tokens = in_memory(lengths)
    length = data.draw(st.integers(1, len(tokens)))
    starts = data.draw(st.lists(st.integers(0, len(tokens) - length), max_size=5))
    rows = tokens.rows(np.array(starts, dtype=np.int64), length)
    assert rows.tolist() == [list(range(s, s + length)) for s in starts]


@pytest.mark.parametrize("start", [-1, 8])
def test_rows_outside_the_split_are_refused(start):
    with pytest.raises(IndexError, match="do not fit"):
        in_memory([6, 4]).rows(np.array([start]), 3)


def test_shards_of_another_tokenizer_are_refused(tmp_path):
    write(tmp_path / "t", [[1, 2, 3]])
    with pytest.raises(
        DataError, match=r"written with another tokenizer\. Run: dvc repro tokenize"
    ):
        open_tokens(tmp_path / "t", "train", "b" * 64)


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.idx"])
def test_torn_changed_or_missing_shard_is_named(tmp_path, name):
    write(tmp_path / "t", [[1, 2, 3], [4, 5]])
    path = tmp_path / "t" / name
    whole = path.read_bytes()
    for data in (whole[:-2], whole[:-1] + bytes([whole[-1] ^ 1]), None):
        path.write_bytes(data) if data is not None else path.unlink()
        with pytest.raises(DataError, match=f"{name}: sha256 .* expected"):
            open_tokens(tmp_path / "t", "train", OWN)


def test_empty_split_is_refused(tmp_path):
    write(tmp_path / "t", [[1, 2, 3]])
    with pytest.raises(DataError, match="val split is empty"):
        open_tokens(tmp_path / "t", "val", OWN)


@pytest.mark.parametrize("text", ["{", '{"format": 99}', None], ids=["torn", "newer", "missing"])
def test_unreadable_manifest_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json.*Run: dvc repro tokenize"):
        open_tokens(tmp_path, "train", OWN)
