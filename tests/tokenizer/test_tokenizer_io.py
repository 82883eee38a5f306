import random

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt.errors import PackageError
from minigpt.tokenizer import io
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.patterns import PATTERNS

ODD = [
    "",
    " ",
    "\n\n  \r\n\t x\r",
    "I'LL we'RE it'\u017f 'S",  # the long s folds to s
    "a\u0000b\u200d\ufeff",
    "👩‍👩‍👧 e\u0301 é ﬃ İ ß",
    "\uff11\uff12\uff13 ٣٤ ½ ⅷ 12345",
    "床前明月光\uff0c\u3000疑是地上霜。",
    "\u00a0\u2028\u2029\u0085\u180e|",
    "def f(x):\n    return  x\n\n\t\tpass",
]


def hugging_face(tokenizer):
    return tokenizers.Tokenizer.from_str(tokenizer.files[io.HUGGING_FACE_FILE].decode())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_hugging_face_gives_the_same_ids_for_odd_text(tokenizer, texts, pattern):
    ours = Tokenizer(tokenizer.ranks, PATTERNS[pattern], tokenizer.specials)
    theirs = hugging_face(ours)
    r = random.Random(7)
    assigned = [chr(r.randrange(0x20, 0x2FFFF)) for _ in range(3000)]
    noise = "".join(c for c in assigned if not "\ud800" <= c <= "\udfff")
    for text in [*ODD, *texts, noise, " ".join(noise)]:
        assert theirs.encode(text).ids == ours.encode(text)
        assert theirs.decode(ours.encode(text), skip_special_tokens=False) == text


@given(text=st.text(alphabet=st.sampled_from("ab lo\n\r\t'sS1é诗.👩\u00a0")))
@settings(deadline=None, derandomize=True, database=None)
def test_hugging_face_gives_the_same_ids_at_every_boundary(tokenizer, text):
    assert hugging_face(tokenizer).encode(text).ids == tokenizer.encode(text)


def test_hugging_face_alone_reads_special_tokens_out_of_text(tokenizer):
    theirs = hugging_face(tokenizer).encode("la<|endoftext|>").ids
    assert theirs == [*tokenizer.encode("la"), tokenizer.eot_id]
    assert theirs != tokenizer.encode("la<|endoftext|>")


def test_transformers_loads_it(tokenizer, texts, tmp_path, monkeypatch):
    monkeypatch.setenv("USE_TORCH", "0")
    from transformers import PreTrainedTokenizerFast

    tokenizer.save(tmp_path / "t")
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "t" / io.HUGGING_FACE_FILE))
    assert theirs(texts[0])["input_ids"] == tokenizer.encode(texts[0])
    assert len(theirs) == tokenizer.vocab_size
    assert theirs.convert_tokens_to_ids("<|endoftext|>") == tokenizer.eot_id


def test_tiktoken_reads_the_rank_file(tokenizer, tmp_path, monkeypatch):
    from tiktoken.load import load_tiktoken_bpe

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")  # else it keeps a copy in the system's temp
    tokenizer.save(tmp_path / "t")
    assert load_tiktoken_bpe(str(tmp_path / "t" / io.RANKS_FILE)) == tokenizer.ranks


def test_every_merge_is_of_two_older_tokens(tokenizer):
    for token, rank in tokenizer.ranks.items():
        if rank >= 256:
            left, right = io.merged_from(token, tokenizer.ranks)
            assert left + right == token
            assert max(tokenizer.ranks[left], tokenizer.ranks[right]) < rank


@pytest.mark.parametrize(
    "data",
    [b"", b"YQ== 0\n", b"not base64! 0\n", b"YQ==\n"],
    ids=["empty", "short", "junk", "half"],
)
def test_damaged_rank_file_is_refused(data):
    with pytest.raises(PackageError, match=r"tokenizer\.tiktoken"):
        io.from_ranks(data, "tokenizer.tiktoken")


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}"])
def test_another_tokenizer_json_is_refused(data):
    with pytest.raises(PackageError, match=r"tokenizer\.json"):
        io.from_hugging_face(data, "tokenizer.json")
