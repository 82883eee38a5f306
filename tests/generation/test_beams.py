"""Beam search against transformers' and against all texts that there are."""

import itertools

import numpy as np
import pytest
import torch
import transformers

from minigpt.errors import ParamsError
from minigpt.export.config import ExportConfig
from minigpt.export.formats.hf import ENTRY
from minigpt.generation.sampling import log_softmax
from minigpt.generation.scheduler import Scheduler

from .answers import GREEDY, PROMPTS, WARM, answers, request

NEW = 12


@pytest.fixture(scope="module")
def theirs(package, tmp_path_factory):
    """The model as transformers runs it."""
    folder = tmp_path_factory.mktemp("hf")
    ENTRY.export(package, folder, ExportConfig())
    return transformers.AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("beams", [2, 3, 4, 8])
@pytest.mark.parametrize("ending", [0.0, 3.0, 5.0])
def test_transformers_finds_the_same_texts_in_the_same_order(
    engine, tokenizer, theirs, beams, ending
):
    sampling = {"logit_bias": {tokenizer.eot_id: ending}}
    ones = [
        request(tokenizer, prompt, sampling, beams=beams, n=beams, max_tokens=NEW)
        for prompt in PROMPTS
    ]
    finishes = set()
    for one, answer in zip(ones, answers(engine, tokenizer, ones), strict=True):
        found = theirs.generate(
            torch.tensor([one.prompt]),
            max_new_tokens=NEW,
            num_beams=beams,
            num_return_sequences=beams,
            do_sample=False,
            sequence_bias={(tokenizer.eot_id,): ending} if ending else None,
            renormalize_logits=True,  # what is left when reserved tokens are held back
        )
        specials = torch.tensor(list(tokenizer.specials.values()))
        texts = [
            tokenizer.decode(row[~torch.isin(row, specials)].tolist())
            for row in found[:, len(one.prompt) :]
        ]
        assert answer.texts() == texts
        finishes.update(answer.finish)
    assert finishes >= ({"stop"} if ending else {"length"})


@pytest.mark.parametrize("name", ["torch", "onnx", "onnx-int8"])
def test_a_search_has_the_same_texts_in_any_company(make_engine, tokenizer, name):
    engine = make_engine(name, 16)
    searches = [request(tokenizer, p, beams=3, n=3, max_tokens=20) for p in PROMPTS]
    others = [request(tokenizer, p, WARM, seed=i) for i, p in enumerate(PROMPTS)]
    alone = [answers(make_engine(name, 3), tokenizer, [one])[0].texts() for one in searches]
    mixed = [one for pair in zip(searches, others, strict=True) for one in pair]
    assert [answer.texts() for answer in answers(engine, tokenizer, mixed)][::2] == alone


def test_a_search_as_wide_as_all_texts_finds_the_likeliest(engine, package, tokenizer):
    """Three tokens may be written: 3 + 9 + 27 texts, each of which has its probability."""
    allowed, prompt = [97, 98, 99], tokenizer.encode("The quick")
    bias = {token: -100.0 for token in range(300) if token not in allowed}
    one = request(
        tokenizer, prompt=(tokenizer.eot_id, *prompt), sampling={"logit_bias": bias},
        beams=16, n=5, max_tokens=3, ignore_end=True,
    )  # fmt: skip
    scores = {}
    for ids in itertools.product(allowed, repeat=3):
        with torch.inference_mode():
            logits = package.model(torch.tensor([[*one.prompt, *ids]]))[0].numpy()
        total = 0.0
        for place, token in enumerate(ids, len(one.prompt) - 1):
            left = np.full(300, -np.inf)
            left[allowed] = logits[place, allowed]
            total += log_softmax(left)[token]
        scores[tokenizer.decode(ids)] = total
    expected = sorted(scores, key=scores.get, reverse=True)[:5]
    assert answers(engine, tokenizer, [one])[0].texts() == expected


def test_the_best_text_is_at_least_as_likely_as_the_greedy_one(engine, tokenizer):
    def mean(answer):
        return np.mean([token.logprob for token in answer.tokens])

    for prompt in PROMPTS:
        settings = {"sampling": GREEDY, "logprobs": 0, "ignore_end": True, "max_tokens": NEW}
        greedy, searched = answers(
            engine, tokenizer,
            [request(tokenizer, prompt, **settings, **more) for more in ({}, {"beams": 4})],
        )  # fmt: skip
        assert mean(searched) >= mean(greedy) - 1e-5


def test_of_a_search_as_many_texts_as_asked_for_come_best_first(engine, tokenizer):
    wide = request(tokenizer, beams=4, n=4, logprobs=1, max_tokens=NEW, ignore_end=True)
    found, best = answers(engine, tokenizer, [wide, wide.replace(n=1)])
    assert len(set(found.texts())) == 4
    assert best.texts() == found.texts()[:1]
    scores = [sum(token.logprob for token in piece.tokens) for piece in found.pieces]
    assert scores == sorted(scores, reverse=True)
    assert [usage.written for usage in found.usage] == [NEW] * 4


def test_a_stop_string_ends_a_text_of_a_search(engine, tokenizer):
    one = request(tokenizer, beams=3, n=3, max_tokens=NEW)
    whole = answers(engine, tokenizer, [one])[0].texts()[0]
    stops = [whole[i : i + 2] for i in range(len(whole) - 1)]
    found = answers(engine, tokenizer, [one.replace(stop=(stop,)) for stop in stops])
    assert any("stop" in answer.finish for answer in found)
    for stop, answer in zip(stops, found, strict=True):
        assert all(stop not in text for text in answer.texts())


def test_a_search_that_is_cancelled_gives_what_it_has_and_leaves_its_slots(engine, tokenizer):
    scheduler, pieces = Scheduler(engine, tokenizer), []
    job = scheduler.submit(request(tokenizer, beams=4, n=2), pieces.append)
    for _ in range(6):
        scheduler.turn()
    scheduler.cancel(job)
    assert [piece.finish for piece in pieces] == ["cancelled"] * 2
    assert all(piece.text for piece in pieces)
    assert not scheduler.busy
    again = answers(engine, tokenizer, [request(tokenizer, beams=16, n=1)])
    assert again[0].finish


def test_no_tokens_asked_for_are_empty_texts(engine, tokenizer):
    [answer] = answers(engine, tokenizer, [request(tokenizer, beams=2, n=2, max_tokens=0)])
    assert (answer.texts(), answer.finish) == (["", ""], ["length", "length"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beams": 3}, "beams 3: at most 2 here, one a slot"),
        ({"beams": 2, "max_tokens": 64}, "needs 6[0-9] places; the model has 64"),
    ],
)
def test_a_search_that_finds_no_room_is_refused(make_engine, tokenizer, values, message):
    scheduler = Scheduler(make_engine("torch", 2), tokenizer)
    with pytest.raises(ParamsError, match=message):
        scheduler.submit(request(tokenizer, "x", **values), print)
