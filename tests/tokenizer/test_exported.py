import json

import pytest

from minigpt.errors import PackageError
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig
from minigpt.tokenizer.exported import load_exported


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    text = "The quick brown fox jumps over the lazy dog, über naïve café.\n" * 3
    Tokenizer.train([text], TokenizerConfig(vocab_size=300)).save(out)
    return out


def test_tokenizer_json_alone_gives_the_same_tokenizer(folder):
    whole, exported = Tokenizer.load(folder), load_exported(folder)
    assert exported.ranks == whole.ranks
    assert exported.specials == whole.specials
    assert exported.pattern == whole.pattern


def test_what_is_no_tokenizer_of_ours_is_refused(folder, tmp_path):
    with pytest.raises(PackageError, match="dvc repro export"):
        load_exported(tmp_path)
    value = json.loads((folder / "tokenizer.json").read_text())
    value["model"]["vocab"].popitem()
    value["model"]["vocab"]["€"] = 3
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(PackageError, match="not a tokenizer of ours"):
        load_exported(tmp_path)
    value["model"]["vocab"] = {"a": 0}
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    with pytest.raises(PackageError, match="file damaged"):
        load_exported(tmp_path)
