"""`generate`: one text from one model, as `minigpt generate` and evaluation write it."""

import pytest

from minigpt.errors import ParamsError
from minigpt.generation.config import SamplingConfig
from minigpt.generation.request import Request
from minigpt.generation.scheduler import Scheduler
from minigpt.generation.stream import generate, prompt_ids
from minigpt.generation.torch_engine import TorchEngine
from minigpt.model.build import build_model

from .conftest import SIZES

WARM = SamplingConfig(temperature=1, top_k=None, top_p=None)


def test_a_prompt_is_continued_as_text_beyond_the_context(tokenizer):
    engine = TorchEngine(build_model(SIZES.replace(context_length=8), tokenizer.vocab_size, seed=0))
    # A new model guesses uniformly, so special tokens would come up if they were not banned.
    texts = ["".join(generate(engine, tokenizer, "To be", WARM, 100, seed)) for seed in range(3)]
    assert texts[0] != texts[1]
    assert not any("<|" in text for text in texts)
    assert "".join(generate(engine, tokenizer, "To be", WARM, 100, 0)) == texts[0]


def test_it_comes_in_pieces_and_ends_before_a_stop_string(engine, tokenizer):
    pieces = list(generate(engine, tokenizer, "The", WARM, 60, 3))
    text = "".join(pieces)
    assert len(pieces) > 10
    assert all(pieces)
    stop = text[20:23]
    stopped = "".join(generate(engine, tokenizer, "The", WARM, 60, 3, [stop, "zzzz"]))
    assert stopped == text[: text.index(stop)]


def test_no_tokens_give_no_text(engine, tokenizer):
    assert list(generate(engine, tokenizer, "The", WARM, 0, 0)) == []


def test_a_text_that_nobody_wants_any_more_leaves_its_slot(engine, tokenizer):
    whole = "".join(generate(engine, tokenizer, "The", WARM, 20, 0))
    for _ in range(20):  # more than there are slots
        pieces = generate(engine, tokenizer, "The", WARM, 50, 0)
        assert whole.startswith(next(pieces))
        pieces.close()
    assert "".join(generate(engine, tokenizer, "The", WARM, 20, 0)) == whole


def test_a_special_token_written_in_a_prompt_is_text(tokenizer):
    start, *ids = prompt_ids(tokenizer, "a <|endoftext|>")
    assert start == tokenizer.eot_id
    assert tokenizer.eot_id not in ids
    assert tokenizer.decode(ids) == "a <|endoftext|>"


def test_a_token_of_another_model_is_refused(engine, tokenizer):
    with pytest.raises(ParamsError, match="token 300: the model has ids from 0 to 299"):
        Scheduler(engine, tokenizer).submit(Request(prompt=(300,)), print)
