"""`minigpt chat`, line by line from a pipe and on a terminal."""

import contextlib
import json
import os
import pty
import re
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigpt.cli.chat import COMMANDS
from minigpt.errors import MiniGPTError, ParamsError
from tests.cli.conftest import CONTEXT, interrupt_at
from tests.patience import patience, until

OPTIONS = ("--max-tokens", 9, "--temperature", 1)


@pytest.fixture
def chat(minigpt, tmp_path, monkeypatch):
    """`minigpt chat` on these lines: what it wrote, and what it said."""
    monkeypatch.chdir(tmp_path)

    def run(*lines, options=OPTIONS, **given):
        done = minigpt("chat", *options, stdin="\n".join(lines) + "\n", **given)
        assert done.exit_code == 0, done.output
        return done.stdout, done.stderr

    return run


def saved(path):
    return json.loads(Path(path).read_text())


def contents(path):
    return [message["content"] for message in saved(path)["messages"]]


def test_a_base_model_is_called_one_and_goes_on_behind_what_is_said(chat, written):
    out, said = chat("ROMEO.", "/save chat.json")
    assert "a base model: it continues, it does not answer · /help" in said
    text = written("ROMEO.", *OPTIONS)["text"]
    assert contents("chat.json") == ["ROMEO.", text]
    assert re.search(r"^\[9 tokens · [\d,]+ tok/s · /retry", said, re.MULTILINE)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out)


def test_each_turn_sees_those_before_it(chat, written):
    chat("A", "B", "/save chat.json")
    first, answer, second, last = contents("chat.json")
    prompt = "\n\n".join([first, answer, second])
    assert written(prompt, *OPTIONS)["text"] == last


def test_a_line_that_ends_in_a_backslash_goes_on(chat):
    chat("one\\", "two", "//three", "/save chat.json")
    assert contents("chat.json")[::2] == ["one\ntwo", "/three"]


def test_every_command_is_in_the_help_and_does_what_it_says(chat, other_package):
    _, said = chat("/help")
    assert all(f"{command} " in said for command in COMMANDS)
    _, said = chat("/set", "/set temperature 0", "/set top-k none", '/set stop ["q"]', "/set")
    before, after = said.split("temperature 0.0", 1)
    assert "temperature 1.0" in before
    assert "stop ['q']" in after
    chat("/set temperature 2", "A", "/retry", "/save chat.json")
    once = contents("chat.json")
    chat("/set temperature 2", "A", "/save chat.json")
    assert len(once) == 2
    assert contents("chat.json") != once
    chat("/system Verses.", "A", "/reset", "B", "/save chat.json")
    assert (saved("chat.json")["system"], contents("chat.json")[0]) == ("Verses.", "B")
    _, said = chat(f"/model {other_package}", "A", "/save chat.json", "/quit", "/nonsense")
    assert f"{other_package} · a base model" in said
    assert saved("chat.json")["model"] == other_package
    assert "/nonsense" not in said


def test_what_was_saved_is_gone_on_with(chat, other_package):
    chat("/system Verses.", "/set seed 4", "A", "/save chat.json", "B", "/save whole.json")
    _, said = chat("/load chat.json", "B", "/save again.json")
    assert "2 messages\n" in said
    assert saved("again.json") == saved("whole.json")
    _, said = chat("/load chat.json", model=other_package)
    assert "2 messages; " in said
    assert " wrote them, " in said


WRONG = {
    "/foo": "/foo: no such command; /help lists them",
    "/set temperature nan": "/set temperature: NaN; expected a finite number",
    "/set temperature -1": "/set temperature: -1; expected greater than",
    "/set temperature hot": '/set temperature: "hot"; expected a number',
    "/set max_tokens 1e9": "/set max_tokens: 1000000000.0; expected a whole number",
    "/set temperatur 1": "no such setting; did you mean temperature?",
    "/set n 2": "/set n: no such setting",
    "/set json_schema {": "/set json_schema: no JSON",
    "/retry": "/retry: nothing was said yet",
    "/save": "/save needs a FILE",
    "/save no/chat.json": "there is no folder no",
    "/save note.txt": "/save note.txt: there is a file already, and no saved chat",
    "/load gone.json": "gone.json: cannot be read",
    "/load note.txt": "note.txt: not a saved chat",
    "/load list.json": "not a saved chat",
    "/load newer.json": "newer.json: minigpt_chat",
    "/load set.json": "/load set.json: temperature: -1",
    "/load odd.json": "/load odd.json: prompt: no such setting",
    "/model": "/model needs a REF",
    "/model no/such/folder": "no/such/folder: neither a package",
    "/quit now": "/quit takes nothing behind it",
}


@pytest.mark.parametrize("line", WRONG)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(chat, tmp_path, line):
    whole = {
        "minigpt_chat": 1, "model": "m", "sha256": "", "system": "", "settings": {}, "messages": []
    }  # fmt: skip
    (tmp_path / "note.txt").write_text("mine")
    (tmp_path / "list.json").write_text("[]")
    for name, change in (
        ("newer", {"minigpt_chat": 2}),
        ("set", {"settings": {"temperature": -1}}),
        ("odd", {"settings": {"prompt": 1}}),
    ):
        (tmp_path / f"{name}.json").write_text(json.dumps(whole | change))
    out, said = chat(line, "/save chat.json")
    [_, problem, kept] = said.splitlines()
    assert WRONG[line] in problem
    assert (out, kept) == ("", "0 messages are kept in chat.json")
    assert saved("chat.json")["settings"]["temperature"] == 1
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_a_form_that_the_model_cannot_follow_takes_back_nothing_that_was_said(chat):
    _, said = chat("/set regex (", "A", "/set regex none", "/retry", "/save chat.json")
    assert "regex: cannot be followed" in said
    assert len(contents("chat.json")) == 2


def test_a_conversation_longer_than_the_context_says_so(chat):
    _, said = chat("a" * (CONTEXT + 9))
    assert "the first 10 tokens of the conversation were not read" in said
    _, said = chat("a", options=("--max-tokens", 2 * CONTEXT, "--temperature", 0))
    assert "beyond the context: the newer half was read again" in said or "128 tokens" not in said


def test_ctrl_c_stops_the_answer_only(chat, monkeypatch):
    interrupt_at(monkeypatch, 4)
    _, said = chat("A", "/set max_tokens 3", "B", options=("--max-tokens", 1_000_000))
    assert re.findall(r"^\[(stopped · )?[\d,]+ token", said, re.MULTILINE) == ["stopped · ", ""]


def test_bad_options_and_bytes_end_it_with_2(chat, minigpt):
    with pytest.raises(ParamsError, match="--temperature: NaN") as refused:
        chat("A", options=("--temperature", "nan"))
    assert refused.value.exit_code == 2
    with pytest.raises(MiniGPTError, match=r"line 2 on stdin is not UTF-8 \(byte 3\)"):
        minigpt("chat", *OPTIONS, stdin=b"A\ncaf\xe9\n")


class Terminal:
    """A program on a terminal."""

    def __init__(self, *command, **environment):
        self.output, (self.ours, theirs) = "", pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=take_terminal, env={**os.environ, **environment},
        )  # fmt: skip
        os.close(theirs)

    def press(self, keys):
        self.output = ""
        os.write(self.ours, keys.encode())

    def wait_for(self, text, length=0):
        """Until the program has shown `text`, and so many characters."""
        end = time.monotonic() + patience(60)
        while text not in self.output or len(self.output) < length:
            assert time.monotonic() < end, (text, self.output)
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self.ours, 65536).decode(errors="replace")
                except OSError as error:  # it has ended
                    raise AssertionError((text, self.output)) from error

    def ends(self):
        """Press Ctrl-D, again where no prompt was there yet; whether the program has ended."""
        self.press("\x04")
        if select.select([self.ours], [], [], 0)[0]:
            with contextlib.suppress(OSError):
                os.read(self.ours, 65536)
        return self.process.poll() is not None

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)


def take_terminal():
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def terminal(package, tmp_path):
    root = str(Path(__file__).resolve().parents[2])
    code = "from minigpt.cli.main import main; main()"
    terminal = Terminal(
        sys.executable, "-c", code, "chat", "-m", package, "--max-tokens", "5",
        PYTHONPATH=root, XDG_STATE_HOME=str(tmp_path), PROMPT_TOOLKIT_NO_CPR="1", TERM="xterm",
    )  # fmt: skip
    yield terminal
    terminal.close()


def test_on_a_terminal_ctrl_c_stops_the_answer_ctrl_d_ends_and_history_is_private(
    terminal, tmp_path
):
    terminal.wait_for(">")
    terminal.press("ROMEO.\x1b\rJULIET.\\\rboth\r")
    terminal.wait_for("5 tokens · ")
    terminal.press(f"/save {tmp_path}/chat.json\r")
    terminal.wait_for("2 messages are kept")
    assert contents(tmp_path / "chat.json")[0] == "ROMEO.\nJULIET.\nboth"
    terminal.press("/set max_tokens 1000000\r")
    terminal.wait_for("max_tokens 1000000")
    terminal.press("/set ignore_end true\r")
    terminal.wait_for("ignore_end True")
    terminal.press("A\r")
    terminal.wait_for("A", length=5000)  # it writes: what was typed is shorter
    terminal.press("\x03")
    terminal.wait_for("[stopped · ")
    terminal.press("dropped\x03")
    until(terminal.ends)
    assert terminal.process.returncode == 0
    history = tmp_path / "minigpt" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700
    assert "+ROMEO." in history.read_text()
    assert "dropped" not in history.read_text()


def test_the_history_lies_where_its_setting_says(monkeypatch, tmp_path):
    from minigpt.cli.chat import history, history_path

    for variable, value, path in (
        ("XDG_STATE_HOME", str(tmp_path), tmp_path / "minigpt" / "history"),
        ("XDG_STATE_HOME", "relative", Path.home() / ".local/state/minigpt/history"),
        ("MINIGPT_HISTORY", str(tmp_path / "own"), tmp_path / "own"),
        ("MINIGPT_HISTORY", "none", None),
    ):
        monkeypatch.setenv(variable, value)
        assert history_path() == path
    monkeypatch.setenv("MINIGPT_HISTORY", str(tmp_path / "wide"))
    (tmp_path / "wide").touch(mode=0o644)
    history()
    assert stat.S_IMODE((tmp_path / "wide").stat().st_mode) == 0o600


def test_a_history_that_cannot_be_kept_is_said_and_does_not_end_it(monkeypatch, tmp_path, capsys):
    from prompt_toolkit.history import InMemoryHistory

    from minigpt.cli.chat import history

    (tmp_path / "file").touch()
    monkeypatch.setenv("MINIGPT_HISTORY", str(tmp_path / "file" / "history"))
    assert isinstance(history(), InMemoryHistory)
    assert "MINIGPT_HISTORY names another file" in capsys.readouterr().err
