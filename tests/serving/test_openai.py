"""The official client of OpenAI, and `llm`, unchanged."""

import asyncio
import json
import os
import subprocess
import sys

import openai
import pytest
import yaml

from tests.patience import patience
from tests.serving.conftest import serving

PROMPT = "The quick brown"
ASK = [{"role": "user", "content": PROMPT}]
CONTEXT = 48


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=patience(60)
    ) as client:
        yield client


@pytest.fixture(scope="module")
def name(client):
    return client.models.list().data[0].id


def test_models_are_listed_and_retrieved(client, name, export):
    assert name == str(export)
    card = client.models.retrieve("minigpt")
    assert (card.id, card.object, card.kind) == (name, "model", "base")
    assert card.context_length == CONTEXT


def test_an_unknown_model_is_not_found_whatever_its_name_looks_like(client):
    for unknown in ("gpt-4o", "../../etc/passwd", "minigpt-99", "x" * 5000, "a\x00b"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.completions.create(model=unknown, prompt=PROMPT)
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("../../etc/passwd")


def test_a_completion_has_the_clients_shape(client, name, server):
    said = client.completions.create(model=name, prompt=PROMPT, max_tokens=12, seed=4)
    [choice] = said.choices
    assert (said.object, said.model, choice.finish_reason) == ("text_completion", name, "length")
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert said.usage.completion_tokens == 12
    assert said.system_fingerprint.startswith(name)
    assert said.version == name
    assert said.sha256 == server.generate("x", max_tokens=1)["sha256"]
    settings = {"temperature": 1.0, "top_k": None, "top_p": None, "seed": 4}
    assert choice.text == server.generate(PROMPT, max_tokens=12, **settings)["generated"]


def test_completions_default_to_sixteen_tokens(client, name):
    said = client.completions.create(model=name, prompt="x", extra_body={"ignore_end": True})
    assert said.usage.completion_tokens == 16


def test_a_streamed_completion_has_the_same_text(client, name):
    asked = {"model": name, "prompt": PROMPT, "max_tokens": 20, "seed": 4}
    whole = client.completions.create(**asked)
    chunks = list(client.completions.create(**asked, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert chunks[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_comes_last_where_it_is_asked_for(client, name):
    chunks = list(
        client.completions.create(
            model=name, prompt=PROMPT, max_tokens=5, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens <= 5
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_many_prompts_give_n_texts_each_in_order(client, name, server):
    said = client.completions.create(
        model=name, prompt=["The", "dog"], n=2, max_tokens=6, seed=9, temperature=0.7
    )
    assert [choice.index for choice in said.choices] == [0, 1, 2, 3]
    settings = {"temperature": 0.7, "top_k": None, "top_p": None, "seed": 9, "n": 2}
    for number, prompt in enumerate(("The", "dog")):
        alone = server.generate(prompt, max_tokens=6, **settings)["choices"]
        texts = [choice.text for choice in said.choices[2 * number : 2 * number + 2]]
        assert texts == [choice["generated"] for choice in alone]


def test_token_ids_are_a_prompt_and_can_be_echoed(client, name):
    said = client.completions.create(
        model=name, prompt=[84, 104, 101], max_tokens=3, echo=True, temperature=0
    )
    both = client.completions.create(
        model=name, prompt=[[84, 104, 101], [84, 104, 101]], max_tokens=3, temperature=0
    )
    assert said.choices[0].text == "The" + both.choices[0].text
    assert len(both.choices) == 2
    with pytest.raises(openai.BadRequestError, match="ids from 0 to 299"):
        client.completions.create(model=name, prompt=[5000])


def test_echo_gives_the_prompt_back_streamed_too(client, name):
    asked = {"model": name, "prompt": PROMPT, "max_tokens": 4, "seed": 1, "echo": True}
    whole = client.completions.create(**asked).choices[0].text
    assert whole.startswith(PROMPT)
    chunks = client.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole


def test_logprobs_of_a_completion(client, name):
    asked = {"model": name, "prompt": PROMPT, "max_tokens": 8, "logprobs": 3, "seed": 2,
             "extra_body": {"ignore_end": True}}  # fmt: skip
    logprobs = client.completions.create(**asked).choices[0].logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset) == 8
    assert all(value <= 0 for value in logprobs.token_logprobs)
    assert all(1 <= len(top) <= 3 for top in logprobs.top_logprobs)
    parts = [
        chunk.choices[0].logprobs
        for chunk in client.completions.create(**asked, stream=True)
        if chunk.choices[0].logprobs
    ]
    assert [token for part in parts for token in part.tokens] == logprobs.tokens
    assert [offset for part in parts for offset in part.text_offset] == logprobs.text_offset


def test_stop_ends_before_the_string(client, name):
    free = client.completions.create(model=name, prompt=PROMPT, max_tokens=30, seed=4)
    stop = free.choices[0].text[5:7]
    said = client.completions.create(model=name, prompt=PROMPT, max_tokens=30, seed=4, stop=stop)
    assert said.choices[0].finish_reason == "stop"
    assert said.choices[0].text == free.choices[0].text.partition(stop)[0]


def test_best_of_gives_the_likeliest(client, name):
    said = client.completions.create(model=name, prompt=PROMPT, best_of=4, n=1, max_tokens=5)
    assert len(said.choices) == 1
    with pytest.raises(openai.BadRequestError, match="cannot be streamed"):
        client.completions.create(model=name, prompt=PROMPT, best_of=4, stream=True)


def test_chat_is_honest_about_a_base_model(client, name):
    said = client.chat.completions.create(model=name, messages=ASK, max_tokens=10, seed=4)
    assert said.choices[0].message.role == "assistant"
    assert said.choices[0].message.content
    assert "base model" in said.note
    more = client.chat.completions.create(model=name, messages=ASK, max_completion_tokens=2)
    assert more.usage.completion_tokens <= 2


def test_chat_reads_a_conversation_as_one_text(client, name, server):
    conversation = [
        {"role": "system", "content": "The dog"},
        {"role": "user", "content": [{"type": "text", "text": "runs"}]},
    ]
    said = client.chat.completions.create(model=name, messages=conversation, max_tokens=9, seed=1)
    settings = {"temperature": 1.0, "top_k": None, "top_p": None, "seed": 1}
    alone = server.generate("The dog\n\nruns", max_tokens=9, **settings)
    assert said.choices[0].message.content == alone["generated"]


def test_chat_streams_with_log_probabilities_of_n_answers(client, name):
    asked = {"model": name, "messages": ASK, "max_tokens": 6, "seed": 4, "n": 2,
             "logprobs": True, "top_logprobs": 2}  # fmt: skip
    whole = client.chat.completions.create(**asked)
    texts, listed = ["", ""], [[], []]
    for chunk in client.chat.completions.create(**asked, stream=True):
        [choice] = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.logprobs:
            listed[choice.index] += choice.logprobs.content
    for number, choice in enumerate(whole.choices):
        assert texts[number] == choice.message.content
        assert listed[number] == choice.logprobs.content
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)
        assert (
            bytes(b for token in listed[number] for b in token.bytes)
            .decode(errors="replace")
            .startswith(texts[number].rstrip("\ufffd")[:3])
        )


def test_an_answer_in_the_form_of_a_schema(client, name):
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["age"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    said = client.chat.completions.create(model=name, messages=ASK, response_format=form, seed=1)
    assert 0 <= json.loads(said.choices[0].message.content)["age"] <= 99
    form["json_schema"]["schema"] = {"type": "nonsense"}
    with pytest.raises(openai.BadRequestError, match="json"):
        client.chat.completions.create(model=name, messages=ASK, response_format=form)


def test_json_object_opens_an_object(client, name):
    said = client.chat.completions.create(
        model=name, messages=ASK, response_format={"type": "json_object"}, max_tokens=5
    )
    assert said.choices[0].message.content.startswith("{")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 500}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": 10**30}, "max_tokens"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, "messages.0.role"),
        ({"messages": []}, "messages"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"modalities": ["audio"]}, "modalities.0"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_name(client, name, wrong, param):
    asked = {"model": name, "messages": ASK, **wrong}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**asked)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert "\n" not in caught.value.message


def test_an_image_is_refused(client, name):
    parts = [{"type": "image_url", "image_url": {"url": "http://x"}}]
    with pytest.raises(openai.BadRequestError, match="'text'"):
        client.chat.completions.create(model=name, messages=[{"role": "user", "content": parts}])


def test_what_changes_nothing_is_read_over(client, name):
    said = client.chat.completions.create(
        model=name, messages=ASK, max_tokens=2, user="me", store=False, metadata={"a": "b"},
        service_tier="auto", tools=[], parallel_tool_calls=True,
    )  # fmt: skip
    assert said.choices[0].message.content is not None


def test_the_asynchronous_client_streams_many_at_once(server, name):
    async def one(client, seed):
        stream = await client.chat.completions.create(
            model=name, messages=ASK, max_tokens=12, seed=seed, stream=True
        )
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=patience(60)
        ) as client:
            return await asyncio.gather(*(one(client, seed % 4) for seed in range(12)))

    texts = asyncio.run(all_of_them())
    assert all(texts[seed] == texts[seed % 4] for seed in range(12))
    assert len(set(texts)) == 4


def test_llm_completes_chats_and_streams(server, name, tmp_path):
    models = [
        {"model_id": "tiny", "model_name": name, "api_base": f"{server.url}/v1"},
        {"model_id": "base", "model_name": name, "api_base": f"{server.url}/v1",
         "completion": True},
    ]  # fmt: skip
    (tmp_path / "extra-openai-models.yaml").write_text(yaml.safe_dump(models))
    env = {**os.environ, "LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}

    def llm(*arguments):
        command = [sys.executable, "-m", "llm", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    for arguments in (("-m", "tiny"), ("-m", "base", "--no-stream")):
        asked = (*arguments, PROMPT, "-o", "max_tokens", "8", "-o", "seed", "3")
        done = llm("prompt", *asked)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_a_model_with_a_chat_template_answers_by_it(copied):
    config = copied / "tokenizer_config.json"
    value = json.loads(config.read_text()) if config.is_file() else {}
    template = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
    config.write_text(json.dumps({**value, "chat_template": template}))
    with serving(copied) as server:
        assert server.get("/v1/models").json()["data"][0]["kind"] == "chat"
        said = server.post("/v1/chat/completions", messages=ASK, max_tokens=3).json()
        assert "note" not in said
        ids = server.post("/v1/completions", prompt=PROMPT, max_tokens=1).json()["usage"]
        assert said["usage"]["prompt_tokens"] == ids["prompt_tokens"] - 1 + 3
