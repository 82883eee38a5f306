"""One seed, one text: in any batch, in another process, over what slots hold already."""

import json
import os
import subprocess
import sys

import pytest
import torch

from minigpt.generation.scheduler import Scheduler
from minigpt.generation.slots import LEAST

from .answers import GREEDY, Answer, answers, finished, ids_written, mixed, request
from .conftest import SIZES

CONTEXT = SIZES.context_length


@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_the_same_seed_writes_the_same_text_alone_and_in_any_batch(make_engine, tokenizer, name):
    requests = mixed(tokenizer, 20)
    alone = [answers(make_engine(name), tokenizer, [one])[0].text for one in requests]
    assert len(set(alone)) > 15
    for slots, piece in ((16, 64), (16, 5), (3, 64)):
        engine = make_engine(name, slots)
        together = answers(engine, tokenizer, requests, piece=piece)
        assert [answer.text for answer in together] == alone
        again = answers(engine, tokenizer, requests[::-1], piece=piece)  # over what slots hold
        assert [answer.text for answer in again] == alone[::-1]


ALONE = """
import json, sys
from pathlib import Path
from minigpt.generation.onnx_engine import OnnxEngine
from minigpt.generation.request import Request
from minigpt.generation.scheduler import Scheduler
from minigpt.tokenizer.exported import load_exported

folder, file, requests = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
scheduler = Scheduler(OnnxEngine(folder, file, slots=5, threads=2), load_exported(folder))
texts = [""] * len(requests)
for i, one in enumerate(requests):
    def sink(piece, i=i):
        texts[i] += piece.text
    scheduler.submit(Request.model_validate(one), sink)
while scheduler.turn():
    pass
assert "torch" not in sys.modules
print(json.dumps(texts))
"""


@pytest.mark.parametrize("file", ["model.onnx", "model_int8.onnx"])
def test_another_process_on_more_threads_writes_the_same_and_needs_no_torch(
    make_engine, export, tokenizer, file
):
    requests = mixed(tokenizer, 6)
    engine = make_engine("onnx" if file == "model.onnx" else "onnx-int8", 16)
    expected = [answer.text for answer in answers(engine, tokenizer, requests)]
    asked = json.dumps([one.model_dump(mode="json") for one in requests])
    command = [sys.executable, "-c", ALONE, str(export), file, asked]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_with_torch_a_text_alone_is_the_same_again(make_engine, tokenizer):
    one = request(tokenizer, seed=3, max_tokens=90)
    engine = make_engine("torch")
    first = answers(engine, tokenizer, [one])[0].text
    answers(engine, tokenizer, [request(tokenizer, "something else", seed=4)])
    assert answers(engine, tokenizer, [one])[0].text == first
    assert answers(make_engine("torch"), tokenizer, [one])[0].text == first


def test_with_torch_too_a_batch_writes_what_each_writes_alone(make_engine, tokenizer):
    # Nothing but rounding could differ: no chance here falls between two roundings.
    requests = mixed(tokenizer, 16)
    alone = [answers(make_engine("torch"), tokenizer, [one])[0].text for one in requests]
    together = answers(make_engine("torch", 16), tokenizer, requests)
    assert [answer.text for answer in together] == alone


@torch.inference_mode()
def likeliest(package, ids):
    """By a full pass, among plain tokens."""
    logits = package.model(torch.tensor([ids]))[0, -1]
    logits[list(package.tokenizer.specials.values())] = -torch.inf
    return int(logits.argmax())


@pytest.mark.parametrize("name", ["torch", "onnx"])
def test_greedy_text_is_that_of_full_passes(make_engine, package, tokenizer, name):
    one = request(tokenizer, sampling=GREEDY, max_tokens=30, ignore_end=True)
    [answer] = answers(make_engine(name), tokenizer, [one])
    seen = list(one.prompt)
    for _ in range(30):
        seen.append(likeliest(package, seen))
    assert answer.text == tokenizer.decode(seen[len(one.prompt) :])
    assert answer.finish == ["length"]


def test_past_the_context_the_newer_half_is_read_again(make_engine, package, tokenizer):
    engine = make_engine("torch")
    one = request(tokenizer, prompt=(5,), sampling=GREEDY, max_tokens=150, ignore_end=True)
    seen = [5, *ids_written(engine, tokenizer, one)]
    assert seen[CONTEXT] == likeliest(package, seen[:CONTEXT])  # the last that fits
    first = CONTEXT + 1 - CONTEXT // 2
    assert seen[CONTEXT + 1] == likeliest(package, seen[first : CONTEXT + 1])
    assert seen[CONTEXT + 2] == likeliest(package, seen[first : CONTEXT + 2])
    [usage] = answers(engine, tokenizer, [one])[0].usage
    assert (usage.written, usage.rereads) == (150, 3)
    assert usage.prompt == 1


def test_of_a_long_prompt_the_end_is_read_and_that_is_said(engine, tokenizer):
    prompt = tuple(i % 250 for i in range(200))
    long, short = (request(tokenizer, prompt=p, seed=1) for p in (prompt, prompt[-CONTEXT:]))
    found = answers(engine, tokenizer, [long, short])
    assert found[0].text == found[1].text
    assert [answer.usage[0].dropped for answer in found] == [200 - CONTEXT, 0]
    assert [answer.usage[0].prompt for answer in found] == [CONTEXT, CONTEXT]


@pytest.mark.parametrize("name", ["onnx", "onnx-int8"])
def test_a_prompt_with_a_beginning_that_was_read_is_read_from_there(make_engine, tokenizer, name):
    beginning = "The quick brown fox jumps over the lazy"
    ones = [request(tokenizer, beginning + end, seed=1) for end in (" dog", " cat", " dog")]
    plain = [answers(make_engine(name), tokenizer, [one])[0].text for one in ones]
    scheduler = Scheduler(make_engine(name, 3), tokenizer)
    cached = []
    for one, expected in zip(ones, plain, strict=True):
        [answer] = finished(scheduler, [one])
        assert answer.text == expected
        cached.append(answer.usage[0].cached)
    assert cached[0] == 0
    assert cached[1] > 16
    assert cached[2] == len(ones[2].prompt) - LEAST  # all of it, and what is read anew for its bits
    assert scheduler.stats.cached == sum(cached)
    assert scheduler.stats.read == sum(len(one.prompt) for one in ones) - sum(cached)
    # From a slot that still writes, into others.
    together = finished(Scheduler(make_engine(name, 3), tokenizer), ones)
    assert [answer.text for answer in together] == plain
    assert [answer.usage[0].cached > 16 for answer in together] == [False, True, True]


def test_what_a_text_wrote_is_no_beginning_for_another(make_engine, tokenizer):
    # Steps round otherwise than reading does, so only what was read may be used again.
    scheduler = Scheduler(make_engine("onnx"), tokenizer)
    one = request(tokenizer, max_tokens=40, ignore_end=True)
    job = scheduler.submit(one, Answer().pieces.append)
    while scheduler.turn():
        pass
    whole = one.prompt + tuple(job.works[0].writer.ids)
    [answer] = finished(scheduler, [request(tokenizer, prompt=whole, max_tokens=1)])
    assert answer.usage[0].cached <= len(one.prompt)
