import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.digest import digest
from minigpt.errors import DataError, PackageError
from minigpt.tokenizer import bpe
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig
from minigpt.tokenizer.patterns import PATTERNS, SPECIALS

BYTES = Tokenizer(
    {bytes([b]): b for b in range(256)},
    PATTERNS["qwen2"],
    {s: 256 + i for i, s in enumerate(SPECIALS)},
)


def test_vocabulary_is_bytes_then_merges_then_specials(tokenizer):
    assert tokenizer.vocab_size == 512
    assert [tokenizer.token_bytes(i) for i in range(256)] == [bytes([i]) for i in range(256)]
    assert list(tokenizer.specials.values()) == list(range(512 - len(SPECIALS), 512))
    assert tokenizer.token_bytes(tokenizer.eot_id) == b"<|endoftext|>"


def test_merges_shorten_the_text_they_were_learned_from(tokenizer, texts):
    assert len(tokenizer.encode(texts[0])) < len(texts[0].encode()) / 2


@given(text=st.text())
@settings(deadline=None, derandomize=True, database=None)
def test_decode_undoes_encode(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(data=st.binary())
@settings(deadline=None, derandomize=True, database=None)
def test_any_bytes_decode_and_the_broken_ones_are_replaced(data):
    assert BYTES.decode_bytes(list(data)) == data
    assert BYTES.decode(list(data)) == data.decode("utf-8", errors="replace")


def test_special_tokens_written_in_text_are_ordinary_text(tokenizer):
    text = "".join(SPECIALS)
    ids = tokenizer.encode(text)
    assert not set(ids) & set(tokenizer.specials.values())
    assert tokenizer.decode(ids) == text


def test_half_a_surrogate_pair_becomes_the_replacement_character(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_threads_change_no_id(tokenizer, texts):
    one, three = tokenizer.encode_batch(texts, 1), tokenizer.encode_batch(texts, 3)
    assert [ids.tolist() for ids in one] == [ids.tolist() for ids in three]
    assert one[0].tolist() == tokenizer.encode(texts[0])


def test_byte_lengths_add_up_to_the_text(tokenizer, texts):
    ids = tokenizer.encode(texts[1])
    assert tokenizer.byte_lengths[ids].sum() == len(texts[1].encode())
    assert not tokenizer.byte_lengths[list(tokenizer.specials.values())].any()


def test_order_of_the_texts_changes_no_byte(tokenizer, texts):
    again = Tokenizer.train(texts[::-1], TokenizerConfig(vocab_size=512))
    assert again.files == tokenizer.files


def test_loaded_tokenizer_is_the_saved_one(tokenizer, texts, tmp_path):
    tokenizer.save(tmp_path / "tokenizer")
    loaded = Tokenizer.load(tmp_path / "tokenizer")
    assert loaded.digest == tokenizer.digest == digest(tmp_path / "tokenizer")
    assert (loaded.pattern, loaded.specials) == (tokenizer.pattern, tokenizer.specials)
    assert loaded.encode(texts[2]) == tokenizer.encode(texts[2])


def test_too_little_text_for_the_vocabulary_is_refused():
    with pytest.raises(DataError, match=r"Lower tokenizer\.vocab_size"):
        Tokenizer.train(["to be or not to be"], TokenizerConfig(vocab_size=512))


def test_endless_white_space_is_refused_before_the_engine_panics(tokenizer):
    text = "a" + " " * bpe.MAX_SPACES + "b"
    with pytest.raises(DataError, match="white-space"):
        tokenizer.encode(text)
    assert len(tokenizer.encode(text[:-2])) > 1


def test_missing_files_are_named(tmp_path):
    with pytest.raises(PackageError, match="train_tokenizer"):
        Tokenizer.load(tmp_path)


def test_files_of_two_tokenizers_are_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "mixed")
    (tmp_path / "mixed" / "tokenizer.tiktoken").write_bytes(BYTES.files["tokenizer.tiktoken"])
    with pytest.raises(PackageError, match="do not follow"):
        Tokenizer.load(tmp_path / "mixed")


def test_ids_are_unsigned_numpy_arrays(tokenizer):
    assert tokenizer.encode_array("la la").dtype == np.uint32


def test_the_stages_need_no_torch():
    code = """if True:
        import sys, minigpt.tokenizer.tokenize, minigpt.tokenizer.train
        print("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
