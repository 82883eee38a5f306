import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.generation.config import SamplingConfig
from minigpt.generation.engine import TorchEngine
from minigpt.generation.stream import characters, generate, until
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.patterns import PATTERNS, SPECIALS


@given(text=st.text(), size=st.integers(1, 5))
def test_characters_are_whole_wherever_the_bytes_are_cut(text, size):
    data = text.encode()
    pieces = list(characters(data[i : i + size] for i in range(0, len(data), size)))
    assert "".join(pieces) == text


def test_bytes_that_are_no_character_become_the_replacement_character():
    assert "".join(characters([b"a\xff", b"b\xe2\x82"])) == "a\ufffdb\ufffd"


def test_a_character_is_given_out_with_its_last_byte():
    euro = "€".encode()
    assert list(characters([euro[:1], euro[1:2], euro[2:] + b"!"])) == ["€!"]


@given(
    text=st.text("ab.", max_size=30),
    stop=st.text("ab.", min_size=1, max_size=3),
    size=st.integers(1, 4),
)
def test_text_ends_before_the_stop_string_wherever_it_is_cut(text, stop, size):
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert "".join(until([stop], pieces)) == text.split(stop)[0]


def test_of_several_stop_strings_the_first_in_the_text_counts():
    assert "".join(until(["END", "\n"], ["one E", "N two\nEND"])) == "one EN two"


def test_nothing_is_held_back_longer_than_it_must():
    pieces = until(["END"], iter(["ab", "cE", "xy"]))
    assert [next(pieces), next(pieces), next(pieces)] == ["ab", "c", "Exy"]


@pytest.fixture(scope="module")
def tokenizer():
    specials = {text: 256 + i for i, text in enumerate(SPECIALS)}
    return Tokenizer({bytes([i]): i for i in range(256)}, next(iter(PATTERNS.values())), specials)


def test_a_prompt_is_continued_as_text(tokenizer):
    config = ModelConfig(n_layer=1, n_embd=16, n_head=2, n_kv_head=1, mlp_dim=16, context_length=8)
    engine = TorchEngine(build_model(config, tokenizer.vocab_size, seed=0))
    warm = SamplingConfig(temperature=1, top_k=None, top_p=None)
    # A new model guesses uniformly, so special tokens would come up if they were not banned.
    texts = ["".join(generate(engine, tokenizer, "To be", warm, 100, seed)) for seed in range(3)]
    assert texts[0] != texts[1]
    assert not any("<|" in text for text in texts)
    assert "".join(generate(engine, tokenizer, "To be", warm, 100, 0)) == texts[0]
