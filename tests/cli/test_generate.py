"""What is asked of `minigpt generate` is checked first, and said in words."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import MiniGPTError, PackageError, ParamsError
from minigpt.generation.config import SamplingConfig
from minigpt.generation.request import Request, Sampling
from minigpt.generation.sampling import choose
from minigpt.generation.settings import NAMES
from tests.cli.conftest import CONTEXT, interrupt_at


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
        ("--seed", "9" * 30),
        ("--min-p", "nan"),
        ("--min-p", "1.5"),
        ("--typical-p", "0"),
        ("--repetition-penalty", "0"),
        ("--repetition-penalty", "inf"),
        ("--frequency-penalty", "3"),
        ("--presence-penalty", "-inf"),
        ("--logit-bias", "5"),
        ("--logit-bias", "a=1"),
        ("--logit-bias", "5=nan"),
        ("--logit-bias", "5=1000"),
        ("--n", "0"),
        ("--n", "17"),
        ("--best-of", "0"),
        ("--beams", "1000"),
        ("--logprobs", "-1"),
        ("--guesses", "-1"),
        ("--slots", "0"),
        ("--regex", "a" * 100_001),
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
    monkeypatch.setattr("minigpt.cli.text.LONGEST_PROMPT", 10)
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


def test_the_options_have_the_defaults_of_a_request():
    parameters = {p.name: p.default for p in get_command(app).commands["generate"].params}
    for model in (Request(prompt=(0,)), Sampling()):
        for name in set(type(model).model_fields) & set(parameters) - {"prompt"}:
            assert (parameters[name] or None) == (getattr(model, name) or None), name
    settings = {name for name in NAMES if name != "stop_tokens"}  # ids are for programs
    assert settings <= set(parameters)


def test_the_text_is_the_prompt_and_what_json_tells_is_the_rest(minigpt, written):
    shown = minigpt("generate", "ROMEO.", "--max-tokens", 9, "--seed", 4)
    told = written("ROMEO.", "--max-tokens", 9, "--seed", 4)
    assert shown.stdout == f"ROMEO.{told['text']}\n"
    assert (told["tokens"], told["finish"], told["engine"]) == (9, "length", "onnx-int8")
    assert told["usage"] == {"prompt": 7, "dropped": 0, "rereads": 0}
    assert shown.stderr == ""


def test_a_file_is_a_prompt(written, tmp_path):
    (tmp_path / "prompt.txt").write_bytes("żółć\r\n\r\n".encode())
    assert written("--file", tmp_path / "prompt.txt", "--max-tokens", 1)["prompt"] == "żółć\n"


def test_several_texts_are_shown_one_behind_the_other(minigpt, written):
    asked = ("A", "--max-tokens", 5, "--n", 3, "--temperature", 2)
    texts = [choice["text"] for choice in written(*asked)["choices"]]
    assert len(set(texts)) == 3
    assert minigpt("generate", *asked).stdout == "\n---\n".join(f"A{t}" for t in texts) + "\n"


def test_the_best_of_several_and_a_search_give_what_is_asked_for(written):
    best = written("A", "--max-tokens", 5, "--best-of", 4, "--n", 2, "--temperature", 2)
    assert len(best["choices"]) == 2
    found = written("A", "--max-tokens", 5, "--beams", 3)
    assert "choices" not in found
    assert found["tokens"] == 5


def test_each_setting_reaches_the_model(written):
    plain = ("A", "--max-tokens", 12, "--temperature", 0)
    first = written(*plain, "--logprobs", 2)["logprobs"][0]
    assert [top["logprob"] for top in first["top"]] == sorted(
        (top["logprob"] for top in first["top"]), reverse=True
    )
    other = written(*plain, "--logit-bias", f"{first['id']}=-100", "--logprobs", 0)["logprobs"][0]
    assert other["id"] == first["top"][1]["id"]
    warm = ("A", "--max-tokens", 12, "--temperature", 1, "--top-k", 0, "--top-p", 1)
    text = written(*warm)["text"]
    for option in (
        ("--min-p", 0.9), ("--typical-p", 0.05), ("--repetition-penalty", 50), ("--seed", 1),
        ("--regex", "[a-z]{12}"),
    ):  # fmt: skip
        assert written(*warm, *option)["text"] != text, option
    biased = (*plain[:1], "--max-tokens", 40, "--temperature", 0, "--logit-bias", "65=99")
    assert written(*biased, "--logit-bias", "66=80")["text"] == "A" * 40
    for penalty in ("--frequency-penalty", "--presence-penalty"):
        told = written(*biased, "--logit-bias", "66=98.9", penalty, 2)
        assert {"A", "B"} <= set(told["text"]), penalty
    assert written(*warm, "--guesses", 4)["text"] == text


def test_the_text_has_the_form_that_was_asked_for(written, tmp_path):
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.lark"
    schema.write_text(
        '{"type": "object", "properties": {"age": {"enum": [1, 22]}}, "required": ["age"]}'
    )
    told = written("A", "--json-schema", schema)
    assert json.loads(told["text"])["age"] in (1, 22)
    assert told["finish"] == "stop"
    assert re.fullmatch("[0-9]{4}", written("A", "--regex", "[0-9]{4}")["text"])
    grammar.write_text('start: "yes" | "no"')
    assert written("A", "--grammar", grammar)["text"] in ("yes", "no")


def test_what_was_not_read_is_said(minigpt, written):
    long = "a" * (CONTEXT + 5)
    told = minigpt("generate", long, "--max-tokens", 2)
    assert f"longer than the {CONTEXT} tokens that the model sees: its first 6 were" in told.stderr
    assert written(long, "--max-tokens", 2)["usage"]["dropped"] == 6
    beyond = written("a", "--max-tokens", 2 * CONTEXT, "--ignore-end")
    assert beyond["usage"]["rereads"] > 1
    assert beyond["tokens"] == 2 * CONTEXT


def test_ctrl_c_ends_a_text_with_what_was_written(minigpt, monkeypatch):
    interrupt_at(monkeypatch, 5)
    done = minigpt("generate", "A", "--max-tokens", 1_000_000, "--ignore-end")
    assert done.exit_code == 130
    assert done.stdout.startswith("A")
    assert done.stdout.endswith("\n")


BAD = {
    "a prompt and a file": (["A", "--file", "x"], "a prompt and --file: give one of them"),
    "a prompt and --in": (["A", "--in", "x"], "a prompt and --in: give one of them"),
    "--in alone": (["--in", "x"], "--in needs --out"),
    "--out alone": (["A", "--out", "x"], "--out needs --in"),
    "--json of a file": (["--in", "x", "--out", "y", "--json"], "JSON already"),
    "no file": (["--file", "gone.txt"], "--file gone.txt: cannot be read"),
    "no text": (["--file", "latin.txt"], r"--file latin.txt is not UTF-8 \(byte 3\)"),
    "no JSON": (["A", "--json-schema", "latin.txt"], "not UTF-8"),
    "no schema": (["A", "--json-schema", "broken.json"], "--json-schema: no JSON"),
    "no such schema": (["A", "--json-schema", "odd.json"], "json: cannot be followed"),
    "no expression": (["A", "--regex", "("], "regex: cannot be followed"),
    "no grammar": (["A", "--grammar", "latin.txt"], "not UTF-8"),
    "two forms": (["A", "--regex", "a", "--json-schema", "odd.json"], "give one"),
    "logprobs": (["A", "--logprobs", "1"], "--logprobs: only JSON lists them"),
    "a token twice": (["A", "--logit-bias", "1=1", "--logit-bias", "1=2"], "token 1 stands twice"),
    "no such token": (["A", "--logit-bias", "99999=1"], "the model has ids from 0 to"),
    "no such engine": (["A", "--engine", "abacus"], "engine 'abacus': expected auto"),
    "best of less": (["A", "--best-of", "2", "--n", "3"], "--best-of 2 is less than n 3"),
}


@pytest.mark.parametrize("which", BAD)
def test_bad_input_is_one_clear_line(which, minigpt, tmp_path, monkeypatch):
    arguments, said = BAD[which]
    (tmp_path / "latin.txt").write_bytes("café".encode("latin1"))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "odd.json").write_text('{"type": "no such type"}')
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(MiniGPTError, match=said) as refused:
        minigpt("generate", *arguments)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before


def test_an_export_that_was_changed_or_is_not_there_is_refused(package, minigpt, tmp_path):
    shutil.copytree(Path(package).parents[1], tmp_path / "copy")
    model, file = tmp_path / "copy/models/finetuned", tmp_path / "copy/exports/onnx/model_int8.onnx"
    with file.open("r+b") as opened:
        opened.seek(1000)
        byte = opened.read(1)
        opened.seek(1000)
        opened.write(bytes([byte[0] ^ 1]))
    with pytest.raises(PackageError, match=r"not what was exported.*Run: dvc checkout"):
        minigpt("generate", "A", model=str(model))
    file.unlink()
    with pytest.raises(PackageError, match=r"model_int8.onnx: missing. Run: dvc repro export"):
        minigpt("generate", "A", model=str(model))
    shutil.rmtree(file.parent)
    with pytest.raises(PackageError, match="holds no ONNX export"):
        minigpt("generate", "A", "--engine", "onnx", model=str(model))


def test_over_onnxruntime_nothing_heavy_is_imported(package):
    """What the first word waits for; benchmarks/first_word.py measures it."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from minigpt.cli.main import app\n"
        "done = CliRunner().invoke(app, ['generate', 'A', '-m', sys.argv[1]])\n"
        "assert done.exit_code == 0, done.output\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'transformers', 'scipy', 'requests', 'onnx'}\n"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, package], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
