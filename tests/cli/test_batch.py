"""Many prompts from file to file: in order, checked first, and gone on with after a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.errors import BusyError, DataError, MiniGPTError
from minigpt.process import take_lock
from tests.cli.conftest import CONTEXT, interrupt_at
from tests.patience import until

PROMPTS = [
    {"prompt": "My fellow citizens", "id": "first"},
    {"prompt": "a", "seed": 3, "max_tokens": 40},
    {"prompt": "", "id": 7, "temperature": 0},
    {"prompt": "b" * (CONTEXT + 9), "max_tokens": 1},
    {"prompt": "c", "n": 3, "best_of": 4, "id": None},
    {"prompt": "d", "beams": 3, "max_tokens": 6, "logprobs": 1},
    {"prompt": "żółć\n", "regex": "[a-z]{5}", "stop": ["q", "zz"]},
    *({"prompt": f"{i}", "max_tokens": 1 + i % 7} for i in range(20)),
]
OPTIONS = ("--max-tokens", 12, "--seed", 5, "--slots", 4)


def lines_of(prompts):
    return "".join(f"{json.dumps(prompt, ensure_ascii=False)}\n" for prompt in prompts)


@pytest.fixture
def batch(minigpt, tmp_path, monkeypatch):
    """`minigpt generate --in prompts.jsonl --out answers.jsonl …` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(lines_of(PROMPTS))

    def run(*options, **given):
        files = ("--in", "prompts.jsonl", "--out", "answers.jsonl")
        return minigpt("generate", *files, *(options or OPTIONS), **given)

    return run


@pytest.fixture
def out(tmp_path):
    return tmp_path / "answers.jsonl"


@pytest.fixture
def whole(batch, out):
    """The bytes of an answers file that was written in one go."""
    assert batch().exit_code == 0
    return out.read_bytes()


def test_each_prompt_has_its_answer_in_order_as_it_would_have_alone(batch, out, whole, written):
    answers = [json.loads(line) for line in whole.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, len(PROMPTS) + 1))
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert answer["prompt"] == prompt["prompt"]
        assert ("id" in answer) == ("id" in prompt)
        assert answer.get("id") == prompt.get("id")
        options = {"max_tokens": 12, "seed": 5, **prompt}
        typed = [
            part
            for name, value in options.items()
            if name not in ("prompt", "id")
            for item in (value if isinstance(value, list) else [value])
            for part in (f"--{name.replace('_', '-')}", item)
        ]
        alone = written(prompt["prompt"], *typed)
        for key in ("text", "finish", "tokens", "usage", "choices", "logprobs"):
            assert answer.get(key) == alone.get(key), (prompt, key)


def test_a_line_of_an_answer_says_what_it_was_made_from(whole):
    answer = json.loads(whole.splitlines()[6])
    assert answer["settings"] == {
        "max_tokens": 12, "seed": 5, "temperature": 0.8, "top_k": 50, "top_p": 0.95,
        "stop": ["q", "zz"], "regex": "[a-z]{5}",
    }  # fmt: skip
    assert set(answer["model"]) == {"name", "sha256", "engine"}
    assert json.loads(whole.splitlines()[3])["usage"]["dropped"] == 10


def test_the_options_that_change_only_the_speed_change_no_byte(batch, out, whole):
    out.unlink()
    assert batch(*OPTIONS[:4], "--slots", 1, "--guesses", 3).exit_code == 0
    assert out.read_bytes() == whole


@pytest.mark.parametrize("cut", [0, 1, 9, 150, 151, 2000, 0.5, -3, -1])
def test_wherever_a_kill_cut_the_file_the_same_command_ends_with_the_same_bytes(
    batch, out, whole, cut
):
    out.write_bytes(whole[: int(len(whole) * cut) if isinstance(cut, float) else cut])
    done = batch()
    assert done.exit_code == 0
    assert out.read_bytes() == whole


def test_where_all_is_answered_nothing_is_done(batch, out, whole):
    before = out.stat().st_mtime_ns
    done = batch()
    assert f"{len(PROMPTS)} of {len(PROMPTS)} prompts are answered" in done.stderr
    assert (out.read_bytes(), out.stat().st_mtime_ns) == (whole, before)


def test_more_prompts_are_answered_behind_those_that_were(batch, out, whole, tmp_path):
    with (tmp_path / "prompts.jsonl").open("a") as file:
        file.write("\n" + lines_of([{"prompt": "one more"}]))
    done = batch()
    assert f"goes on at {len(PROMPTS) + 1}" in done.stderr
    assert out.read_bytes()[: len(whole)] == whole
    last = json.loads(out.read_bytes().splitlines()[-1])
    assert (last["line"], last["prompt"]) == (len(PROMPTS) + 2, "one more")


def test_ctrl_c_says_how_to_go_on(batch, out, whole, monkeypatch):
    out.unlink()
    interrupt_at(monkeypatch, 25)
    done = batch()
    assert done.exit_code == 130
    answers = len(out.read_bytes().splitlines())
    assert 0 < answers < len(PROMPTS)
    total = len(PROMPTS)
    assert (
        f"stopped at {answers} of {total}: the same command goes on at {answers + 1}" in done.stderr
    )
    assert whole.startswith(out.read_bytes())
    assert batch().exit_code == 0
    assert out.read_bytes() == whole


def test_a_killed_process_leaves_what_the_same_command_goes_on_with(batch, out, tmp_path, package):
    (tmp_path / "prompts.jsonl").write_text(lines_of([{"prompt": str(i)} for i in range(150)]))
    code = "from minigpt.cli.main import main; main()"
    options = ("--max-tokens", "60", "--ignore-end")
    typed = ["generate", "-m", package, "--in", "prompts.jsonl", "--out", "answers.jsonl", *options]
    root = str(Path(__file__).resolve().parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", code, *typed], env={**os.environ, "PYTHONPATH": root},
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        until(lambda: out.exists() and out.read_bytes().count(b"\n") > 3)
        process.send_signal(signal.SIGKILL)
    torn = out.read_bytes()
    assert batch(*options).exit_code == 0
    resumed = out.read_bytes()
    assert resumed.startswith(torn)
    out.unlink()
    assert batch(*options).exit_code == 0
    assert out.read_bytes() == resumed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.jsonl", "prompts.jsonl"]


BAD_LINES = {
    "{": "line 2: no JSON",
    '["a"]': "line 2: expected an object",
    '"a"': "line 2: expected an object",
    "{}": "line 2: prompt: expected a text",
    '{"prompt": 5}': "line 2: prompt: expected a text",
    '{"prompt": null}': "line 2: prompt: expected a text",
    '{"prompt": "a", "prompt": "b"}': "line 2: no JSON: the key 'prompt' stands twice",
    '{"prompt": "\\ud800"}': "line 2: half of a character",
    '{"prompt": "a", "temperatur": 1}': "temperatur: no such setting; did you mean temperature?",
    '{"prompt": "a", "temperature": "1"}': 'line 2: temperature: "1"; expected a number',
    '{"prompt": "a", "temperature": NaN}': "line 2: temperature: NaN; expected a finite number",
    '{"prompt": "a", "temperature": 1e999}': "line 2: temperature: Infinity; expected a finite",
    '{"prompt": "a", "max_tokens": true}': "true is no number",
    '{"prompt": "a", "max_tokens": 1.5}': "line 2: max_tokens: 1.5; expected a whole number",
    '{"prompt": "a", "max_tokens": 1000001}': "line 2: max_tokens: 1000001; expected less than or",
    '{"prompt": "a", "n": 0}': "line 2: n: 0; expected greater than or equal to 1",
    '{"prompt": "a", "stop": [""]}': "line 2: stop: an empty text would end at once",
    '{"prompt": "a", "logit_bias": {"x": 1}}': 'logit_bias (x): "x"; expected a whole number',
    '{"prompt": "a", "logit_bias": {"99999": 1}}': "line 2: token 99999: the model has ids from",
    '{"prompt": "a", "regex": "("}': "line 2: regex: cannot be followed",
    '{"prompt": "a", "json_schema": {"type": "no such"}}': "line 2: json: cannot be followed",
    '{"prompt": "a", "regex": "a", "grammar": "b"}': "are two forms of one text",
    '{"prompt": "a", "beams": 2, "max_tokens": 500}': "line 2: a beam search of 500 tokens",
    '{"prompt": "a", "id": Infinity}': "line 2: id: a number that is not finite",
    '{"prompt": "a", "timeout": 1}': "line 2: timeout: no such setting",
    "[" * 100_000: "line 2: no JSON",
    '{"prompt": "a", "seed": ' + "9" * 5000 + "}": "line 2: no JSON",
}  # fmt: skip


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:40])
def test_every_line_is_checked_before_anything_is_computed(batch, tmp_path, line):
    (tmp_path / "prompts.jsonl").write_text(f'{{"prompt": "fine"}}\n{line}\n')
    with pytest.raises(MiniGPTError) as refused:
        batch()
    assert BAD_LINES[line] in str(refused.value).replace("prompts.jsonl ", "")
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_bytes_that_are_no_text_are_told_by_line_and_byte(batch, tmp_path):
    (tmp_path / "prompts.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"line 2: not UTF-8 \(byte 15 of the line\)"):
        batch()


def test_answers_that_were_made_otherwise_are_refused_by_what_differs(
    batch, out, whole, tmp_path, other_package
):
    def refused(*options, **given):
        with pytest.raises(MiniGPTError) as error:
            batch(*options, **given)
        assert error.value.exit_code == 2
        assert out.read_bytes() == whole
        return str(error.value)

    assert "written with seed at 5, and now it is 6" in refused(*OPTIONS[:2], "--seed", 6)
    assert "written with min_p at its default, and now it is 0.5" in refused(
        *OPTIONS, "--min-p", 0.5
    )
    assert "onnx-int8) wrote it; this is" in refused(model=other_package)
    assert ", onnx)" in refused(*OPTIONS, "--engine", "onnx")
    for changed, said in (
        ({"prompt": "Your fellow citizens", "id": "first"}, "its prompt is 'My fellow citizens'"),
        ({"prompt": "My fellow citizens", "id": 2}, "its id is 'first'"),
        ({"prompt": "My fellow citizens", "id": "first", "n": 2}, "with n at its default"),
    ):
        (tmp_path / "prompts.jsonl").write_text(lines_of([changed, *PROMPTS[1:]]))
        assert f"answers.jsonl line 1: {said}" in refused().replace("it was written ", "")
    (tmp_path / "prompts.jsonl").write_text(lines_of(PROMPTS[:-1]))
    assert "an answer too many; prompts.jsonl has 26 prompts" in refused()
    (tmp_path / "prompts.jsonl").write_text("\n" + lines_of(PROMPTS))
    assert "it answers line 1 of prompts.jsonl, not line 2" in refused()


@pytest.mark.parametrize(
    "content",
    [
        "hello",
        "hello\n",
        "{}\n",
        "[1]\n",
        '{"line": 1}\n',
        '{"line": 2, "pro',
        "\n",
        '{"a": 1',
        "\0",
    ],
)
def test_a_file_that_is_none_of_ours_is_left_as_it_is(batch, out, content):
    out.write_text(content)
    with pytest.raises(DataError, match="line 1: no answer of minigpt generate"):
        batch()
    assert out.read_text() == content


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (("gone.jsonl", "answers.jsonl"), "--in gone.jsonl: no such file"),
        ((".", "answers.jsonl"), "--in .: not a file"),
        (("prompts.jsonl", "."), "--out .: a folder"),
        (("prompts.jsonl", "no/answers.jsonl"), "--out no/answers.jsonl: there is no folder no"),
        (("prompts.jsonl", "prompts.jsonl/x"), "there is no folder prompts.jsonl"),
        (("prompts.jsonl", "prompts.jsonl"), "the file of --in itself"),
        (("prompts.jsonl", "/dev/null"), "--out /dev/null: not a file"),
    ],
)
def test_files_that_cannot_be_are_refused(batch, minigpt, tmp_path, files, said):
    with pytest.raises(MiniGPTError) as refused:
        minigpt("generate", "--in", files[0], "--out", files[1])
    assert said in str(refused.value)
    assert refused.value.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_two_processes_do_not_write_one_file(batch, out, tmp_path):
    held = take_lock(tmp_path / ".answers.jsonl.lock")
    with pytest.raises(BusyError, match="is being written by another process"):
        batch()
    os.close(held)
    assert not out.exists()


def test_on_a_full_disk_whole_lines_are_left_and_the_same_command_goes_on(batch, out, whole):
    resource = pytest.importorskip("resource", reason="a limit on files, where there is one")
    out.unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(DataError, match=r"answers.jsonl: cannot write: .*half-written"):
            batch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = out.read_bytes()
    assert left.endswith(b"\n")
    assert whole.startswith(left)
    assert batch().exit_code == 0
    assert out.read_bytes() == whole


def test_progress_is_one_plain_line_in_a_log(batch, whole):
    del whole
    Path("answers.jsonl").unlink()
    said = batch().stderr
    assert "\r" not in said
    assert " of 27 · " in said
    assert said.splitlines()[-2].startswith("27 answers in answers.jsonl · ")
    assert "1 prompt was longer than the model sees" in said
