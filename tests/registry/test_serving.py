"""`mlflow models serve` and `predict`, as a person calls them: no settings but the address."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt.generation.config import SamplingConfig
from minigpt.generation.stream import generate
from minigpt.generation.torch_engine import TorchEngine
from minigpt.package import load_package
from minigpt.registry.logged_model import PARAMS
from minigpt.registry.pyfunc_model import RefusedInput, TextModel, texts_in
from minigpt.registry.versions import list_versions
from tests.patience import until
from tests.registry.checkout import NAME

MODEL = f"models:/{NAME}@challenger"
CODE = "import sys; from mlflow.cli import cli; sys.exit(cli())"
SHORT = {"max_tokens": 6, "seed": 3}


def environment(checkout, **more):
    """Of a person who did not activate the environment, with no pyenv and no uvicorn at hand."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PYTHONPATH"))}
    uri = f"sqlite:///{(checkout.root / 'mlflow.db').as_posix()}"
    plain = {
        "PATH": "/usr/bin:/bin",
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    return inherited | plain | more


class Server:
    def __init__(self, checkout, folder, *options, **env):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = folder / "server.log"
        serve = ("models", "serve", "-m", MODEL, "-p", str(self.port), *options)
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", CODE, *serve],
                cwd=folder,
                env=environment(checkout, **env),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, path, body=None, kind="application/json"):
        """Status and text of an answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data, {"Content-Type": kind}
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def texts(self, body, kind="application/json"):
        status, answer = self.ask("/invocations", body, kind)
        assert status == 200, answer
        return json.loads(answer)["predictions"]

    def is_up(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.ask("/ping")[0] == 200
        except OSError:
            return False

    def end(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(60)


@pytest.fixture(scope="module")
def server(registered, tmp_path_factory):
    started = Server(registered, tmp_path_factory.mktemp("elsewhere"))
    try:
        until(started.is_up, 120)
        yield started
    finally:
        started.end()


@pytest.fixture(scope="module")
def written(registered):
    """What `minigpt generate` writes behind a text, with these settings."""
    package = load_package(registered.root / "models" / "finetuned")
    engine = TorchEngine(package.model)

    def write(text, max_tokens, seed, temperature=0.8, top_k=50, top_p=0.95):
        sampling = SamplingConfig(temperature=temperature, top_k=top_k or None, top_p=top_p)
        return "".join(generate(engine, package.tokenizer, text, sampling, max_tokens, seed))

    return write


@pytest.fixture
def model(registered):
    folder = registered.root / "models" / "finetuned"
    text_model = TextModel()
    text_model.load_context(SimpleNamespace(artifacts={"package": str(folder)}))
    return text_model


def test_the_bare_command_answers_in_the_environment_it_was_called_in(server):
    assert server.ask("/ping")[0] == server.ask("/health")[0] == 200
    assert server.ask("/version") == (200, metadata.version("mlflow"))
    said = server.log.read_text()
    assert f"{MODEL} runs in this environment, which has what it requires." in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "settings", [{"temperature": 0.0}, {"temperature": 1.3, "top_k": 0, "top_p": 0.7}, {"top_k": 3}]
)
def test_a_server_writes_what_generate_writes(server, written, settings):
    params = {"max_tokens": 20, "seed": 5} | settings
    texts = server.texts({"inputs": ["To be", ""], "params": params})
    assert texts == [written("To be", **params), written("", **params | {"seed": 6})]


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ["To be"]},
        {"inputs": "To be"},
        {"inputs": {"text": ["To be"]}},
        {"instances": ["To be"]},
        {"instances": [{"text": "To be"}]},
        {"dataframe_split": {"columns": ["text"], "data": [["To be"]]}},
        {"dataframe_split": {"data": [["To be"]]}},
        {"dataframe_records": [{"text": "To be"}]},
    ],
)
def test_a_request_may_have_any_form_that_mlflow_knows(server, written, body):
    assert server.texts(body | {"params": SHORT}) == [written("To be", **SHORT)]


def test_a_request_may_be_csv_or_what_an_api_for_completions_takes(server, written):
    whole = {"max_tokens": PARAMS["max_tokens"][1], "seed": 0}
    assert server.texts(b"text\nTo be\n", "text/csv") == [written("To be", **whole)]
    status, answer = server.ask("/invocations", {"prompt": "To be", **SHORT})
    assert (status, json.loads(answer)) == (200, [written("To be", **SHORT)])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"inputs": []}, "no text: expected at least one"),
        ({"inputs": None}, "text 1 of 1: a missing value, expected a text"),
        ({"inputs": [5]}, "text 1 of 1: int, expected a text"),
        ({"inputs": ["a", None]}, "text 2 of 2: a missing value, expected a text"),
        ({"inputs": [["a"]]}, "text 1 of 1: list, expected a text"),
        (
            {"dataframe_split": {"columns": ["id", "text"], "data": [[1, "a"]]}},
            "id, text: expected",
        ),
        ({"prompt": "a", "max_token": 5}, "prompt, max_token: expected one column (or one key)"),
        ({"inputs": ["a"], "params": {"temperature": -1}}, "temperature -1.0: Input should be"),
        ({"inputs": ["a"], "params": {"temperature": 1e-9}}, "temperature 1e-09 is next to 0"),
        ({"inputs": ["a"], "params": {"max_tokens": 0}}, "max_tokens 0: Input should be greater"),
        ({"inputs": ["a"], "params": {"max_tokens": None}}, "max_tokens None: Input should be"),
        ({"inputs": ["a"], "params": {"max_tokens": "many"}}, "Can not safely convert"),
        ({"inputs": ["a"], "params": {"seed": -1}}, "seed -1: Input should be"),
        ({"inputs": ["a"], "params": [1]}, "Parameters must be a dictionary"),
        (
            {"inputs": ["a", "to be or not " * 900]},
            "text 2 of 2: 11,700 bytes, but the model reads",
        ),
        (
            {"inputs": ["x" * 1_000_000]},
            "text 1 of 1: 1,000,000 bytes, but the model reads at most",
        ),
        (b"{", "Ensure that input is a valid JSON formatted string"),
    ],
)
def test_bad_input_is_answered_with_400_and_a_sentence(server, body, message):
    status, answer = server.ask("/invocations", body)
    assert status == 400
    assert message in json.loads(answer)["message"]
    assert "Traceback" not in answer
    assert "stack_trace" not in answer
    assert len(answer) < 700  # not the whole input again


def test_requests_at_once_do_not_write_into_each_other(server, written):
    prompts = [f"To be {i}" for i in range(8)]
    params = {"max_tokens": 40, "seed": 0}
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda p: server.texts({"inputs": [p], "params": params}), prompts)
    assert list(answers) == [[written(prompt, **params)] for prompt in prompts]


def test_predict_writes_its_answers_into_a_file(registered, written, tmp_path):
    (tmp_path / "in.json").write_text(json.dumps({"inputs": ["To be", "or"], "params": SHORT}))
    command = ("models", "predict", "-m", MODEL, "-i", "in.json", "-o", "out.json")
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command],
        cwd=tmp_path,
        env=environment(registered),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    expected = [written("To be", **SHORT), written("or", **SHORT | {"seed": 4})]
    assert json.loads((tmp_path / "out.json").read_text()) == {"predictions": expected}


def test_a_text_for_which_nobody_waits_any_more_is_not_written_to_its_end(model, monkeypatch):
    params = {name: default for name, (_, default) in PARAMS.items()}
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    assert len(model.predict(None, ["To be"], params)) == 1  # no server runs it
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with pytest.raises(RefusedInput, match="takes longer than the server waits"):
        model.predict(None, ["To be"], params)


def test_a_prompt_may_fill_the_context_and_no_more(model, written):
    most = model._engine.context_length - 1
    texts = [["e" * (most + more)] for more in (0, 1)]
    params = {name: default for name, (_, default) in PARAMS.items()} | SHORT
    tokens = [len(model._tokenizer.encode(text)) for [text] in texts]
    assert tokens == [most, most + 1]
    assert model.predict(None, texts[0], params) == [written(texts[0][0], **SHORT)]
    with pytest.raises(RefusedInput, match=f"{most + 1:,} tokens, but the model reads at most"):
        model.predict(None, texts[1], params)


def test_one_text_may_come_alone():
    assert texts_in("To be") == texts_in(["To be"]) == texts_in(("To be",)) == ["To be"]


def test_exports_are_fetched_from_the_run_of_a_version(registered, tmp_path):
    [version] = list_versions(registered.registry)
    fetched = registered.registry.store.client.download_artifacts(
        version.run_id, "exports", str(tmp_path)
    )
    assert (Path(fetched) / "hf" / "config.json").read_text() == "{}"


@pytest.mark.prove
@pytest.mark.skipif(shutil.which("pyenv") is None, reason="MLflow makes environments with pyenv")
def test_an_environment_that_mlflow_makes_of_the_requirements_serves(registered, written, tmp_path):
    env = {"PATH": os.environ["PATH"], "MLFLOW_ENV_ROOT": str(tmp_path / "envs")}
    server = Server(registered, tmp_path, "--env-manager", "virtualenv", **env)
    try:
        until(server.is_up, 900)
        assert server.texts({"inputs": ["To be"], "params": SHORT}) == [written("To be", **SHORT)]
    finally:
        server.end()
