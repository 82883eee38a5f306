"""POST /generate: our own words, and what every answer says of itself."""

import json

import pytest

from minigpt.generation.model_files import ModelFiles
from minigpt.generation.models import load
from minigpt.generation.request import Request, Sampling
from minigpt.generation.scheduler import Scheduler
from minigpt.generation.stream import prompt_ids
from minigpt.machine import Machine


@pytest.fixture(scope="module")
def model(export):
    return load(ModelFiles("x", "y", "onnx-int8", str(export)), Machine.load(), slots=4)


def alone(model, prompt, **settings):
    """The text of a request that nothing stands beside."""
    sampling = {k: settings.pop(k) for k in list(settings) if k in Sampling.model_fields}
    request = Request(
        prompt=prompt_ids(model.tokenizer, prompt), sampling=Sampling(**sampling), **settings
    )
    pieces = Scheduler(model.engine, model.tokenizer).write(request)
    return "".join(piece.text for piece in pieces)


def events(text):
    """What a stream of server-sent events holds."""
    blocks = [block for block in text.split("\n\n") if block]
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_a_text_is_what_the_engine_writes_alone_and_says_who_wrote_it(server, model, export):
    answer = server.post("/generate", prompt="The quick", max_tokens=20, seed=7)
    said = answer.json()
    assert said["generated"] == alone(model, "The quick", max_tokens=20, seed=7)
    assert (said["version"], said["engine"], said["seed"]) == (str(export), "onnx-int8", 7)
    assert len(said["sha256"]) == 64
    assert said["usage"]["written"] == 20
    assert said["finish_reason"] == "length"
    assert answer.headers["x-minigpt-sha256"] == said["sha256"]
    assert answer.headers["x-minigpt-version"] == said["version"]


def test_a_stream_has_the_same_text_and_ends_with_the_same_facts(server):
    settings = {"prompt": "The lazy", "max_tokens": 30, "seed": 3}
    whole = server.generate(**settings)
    *texts, last = events(server.post("/generate", stream=True, **settings).text)
    assert "".join(event["text"] for event in texts) == whole["generated"]
    assert last["done"] is True
    for name in ("version", "sha256", "engine", "seed", "finish_reason"):
        assert last[name] == whole[name]
    assert last["usage"]["written"] == whole["usage"]["written"]


def test_the_seed_that_was_drawn_writes_the_same_text_again(server):
    first = server.generate("dog", max_tokens=16)
    assert (
        server.generate("dog", max_tokens=16, seed=first["seed"])["generated"]
        == (first["generated"])
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"top_k": None, "top_p": None, "min_p": 0.05, "temperature": 1.5},
        {"typical_p": 0.9, "repetition_penalty": 1.3},
        {"frequency_penalty": 1.0, "presence_penalty": -1.0, "logit_bias": {"5": 3.5}},
        {"stop": "a"},
        {"stop": ["o", "e"], "ignore_end": True},
        {"stop_tokens": [100, 101, 102]},
        {"beams": 3},
    ],
)
def test_every_setting_of_the_engine_arrives(server, model, settings):
    given = server.generate("The quick brown", max_tokens=24, seed=5, **settings)["generated"]
    local = dict(settings)
    if isinstance(local.get("stop"), str):
        local["stop"] = (local["stop"],)
    assert given == alone(model, "The quick brown", max_tokens=24, seed=5, **local)


def test_a_form_is_kept(server):
    text = server.generate("x", max_tokens=12, regex="[0-9]{4}-[0-9]{2}")["generated"]
    assert len(text) == 7
    assert text[4] == "-"


def test_several_choices_are_listed_with_their_tokens(server):
    said = server.generate("x", max_tokens=4, n=3, logprobs=2, seed=1, ignore_end=True)
    assert len(said["choices"]) == 3
    assert said["choices"][0]["generated"] == said["generated"]
    for choice in said["choices"]:
        assert len(choice["tokens"]) == 4
        assert all(len(token["top"]) == 2 for token in choice["tokens"])
    assert said["usage"]["written"] == 12
    assert said["usage"]["prompt"] == 2


def test_a_prompt_longer_than_the_context_is_said_to_have_been_cut(server):
    said = server.generate("The quick brown fox. " * 40, max_tokens=3)
    assert said["usage"]["dropped"] > 0
    assert "were not read" in said["note"]


def test_text_longer_than_the_context_goes_on_and_says_so(server):
    said = server.generate("x", max_tokens=100, ignore_end=True)
    assert said["usage"]["written"] == 100
    assert "longer than the model sees" in said["note"]


def test_special_tokens_in_a_prompt_are_text(server):
    typed = server.generate("a<|endoftext|>b", max_tokens=1)["usage"]["prompt"]
    assert typed > 4


def test_a_request_id_is_kept_if_it_is_sane(server):
    with server.client() as client:
        kept = client.get("/healthz", headers={"x-request-id": "abc-123"})
        drawn = client.get("/healthz", headers={"x-request-id": "a b\t<script>"})
    assert kept.headers["x-request-id"] == "abc-123"
    assert drawn.headers["x-request-id"].startswith("req-")


def test_a_deadline_ends_a_text(server):
    said = server.generate("x", max_tokens=1_000_000, ignore_end=True, timeout=0.2)
    assert said["finish_reason"] == "timeout"
    assert 0 < said["usage"]["written"] < 1_000_000
