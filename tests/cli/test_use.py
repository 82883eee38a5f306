"""What is asked of `minigpt generate` is checked first, and said in words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import ParamsError
from minigpt.generation.config import SamplingConfig
from minigpt.generation.sampling import choose
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.patterns import PATTERNS, SPECIALS

SMALL = ModelConfig(n_layer=1, n_embd=8, n_head=1, n_kv_head=1, mlp_dim=8, context_length=16)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    specials = {text: 256 + i for i, text in enumerate(SPECIALS)}
    letters = {bytes([i]): i for i in range(256)}
    Tokenizer(letters, next(iter(PATTERNS.values())), specials).save(folder / "tokenizer")
    size = Tokenizer.load(folder / "tokenizer").vocab_size
    save_package(folder / "package", build_model(SMALL, size, seed=0), folder / "tokenizer")
    return str(folder / "package")


def prompt_of(package, *arguments, stdin=None):
    """The prompt that the model was given."""
    command = ["generate", "-m", package, "--max-tokens", "1", "--json", *arguments]
    done = CliRunner().invoke(app, command, input=stdin, catch_exceptions=False)
    return json.loads(done.stdout)["prompt"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--temperature", "inf"),
        ("--temperature", "nan"),
        ("--temperature", "-1"),
        ("--temperature", "1e-320"),
        ("--temperature", "1000"),
        ("--top-p", "nan"),
        ("--top-p", "inf"),
        ("--top-p", "0"),
        ("--top-k", "-1"),
        ("--max-tokens", "0"),
        ("--max-tokens", "1" + "0" * 30),
        ("--seed", "-1"),
    ],
)
def test_a_setting_that_is_not_allowed_is_named(option, value):
    done = CliRunner().invoke(app, ["generate", "a", option, value])
    said = str(done.exception) if isinstance(done.exception, ParamsError) else done.output
    assert isinstance(done.exception, ParamsError) or done.exit_code == 2
    assert option in said


def test_the_smallest_and_the_largest_temperature_give_tokens():
    logits = np.array([1e4, -1e4, 0.0, -np.inf])
    for temperature in (1e-6, 100.0):
        sampling = SamplingConfig(temperature=temperature, top_k=None, top_p=None)
        assert choose(logits, sampling, 0.5) == 0


@pytest.mark.parametrize(
    ("stdin", "prompt"),
    [
        (b"ROMEO.\n", "ROMEO."),
        (b"ROMEO.\r\n", "ROMEO."),
        (b"ROMEO.\n\n", "ROMEO.\n"),
        (b"\xef\xbb\xbfROMEO.", "ROMEO."),
        ("żółć".encode(), "żółć"),
        (b"", ""),
    ],
)
def test_one_newline_at_the_end_of_stdin_is_no_part_of_the_prompt(package, stdin, prompt):
    assert prompt_of(package, stdin=stdin) == prompt


def test_a_prompt_without_end_is_not_waited_for(package, monkeypatch):
    monkeypatch.setattr("minigpt.cli.use.LONGEST_PROMPT", 10)
    assert prompt_of(package, stdin=b"0123456789") == "0123456789"
    with pytest.raises(ParamsError, match="longer than 10 bytes, and only the end"):
        prompt_of(package, stdin=b"0123456789A")


def test_an_argument_is_taken_as_it_is(package):
    assert prompt_of(package, "ROMEO.\n") == "ROMEO.\n"


def test_an_argument_in_utf8_is_read_where_the_locale_knows_none(package):
    assert prompt_of(package, "żółć".encode().decode("ascii", "surrogateescape")) == "żółć"


@pytest.mark.parametrize("where", ["argument", "stdin", "stop"])
def test_what_is_not_utf8_is_said_in_one_message(package, where):
    latin = "café".encode("latin1")
    arguments = {
        "argument": [os.fsdecode(latin)],
        "stdin": [],
        "stop": ["a", "--stop", os.fsdecode(latin)],
    }
    with pytest.raises(ParamsError, match=r"is not UTF-8 \(byte 3\).*iconv"):
        prompt_of(package, *arguments[where], stdin=latin)


STREAMS = {
    "stdin closed": ("<&-", 0, ""),
    "stdout closed": ("a >&-", 0, ""),
    "all closed": ("a <&- >&- 2>&-", 0, ""),
    "stdout full": ("a >/dev/full", 1, "standard output"),
    "stdin for writing": ("0>written", 2, "stdin cannot be read"),
    "reader leaves": ("a | head -c 1 >/dev/null", 0, ""),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk to try")
@pytest.mark.parametrize("which", STREAMS)
def test_odd_streams_end_in_silence_or_in_one_line(package, which, tmp_path):
    rest, code, said = STREAMS[which]
    command = f'"$PYTHON" -m minigpt.cli.main generate -m "$MODEL" --max-tokens 40 {rest}'
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHON": sys.executable, "MODEL": package, "PYTHONPATH": root}
    done = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (code, 1 if said else 0), done.stderr
    assert said in done.stderr
