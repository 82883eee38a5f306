"""The command line: help that shows examples, and exit codes."""

import json
import os
import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from minigpt import __version__
from minigpt.cli.main import app
from minigpt.cli.shared import TEXTS
from minigpt.errors import ParamsError
from minigpt.process import take_lock
from minigpt.tracking import open_journal

RUNNER = CliRunner()
COMMANDS = [
    ["generate"], ["chat"], ["completion"], ["doctor"], ["plan"], ["report"], ["preset"], ["clean"],
    ["verify"], ["lineage"], ["compare"], ["takedown"],
    ["registry", "list"], ["registry", "sync"], ["registry", "promote"], ["registry", "relocate"],
    ["registry", "rollback"], ["registry", "log"],
    ["registry", "sign"], ["registry", "sbom"], ["key", "new"], ["key", "show"],
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_shows_an_example(command):
    done = RUNNER.invoke(app, [*command, "--help"])
    assert done.exit_code == 0
    assert f"minigpt {' '.join(command)}" in done.output


def test_the_version_is_printed():
    assert RUNNER.invoke(app, ["--version"]).output.strip() == __version__


def test_an_unknown_command_exits_with_2():
    assert RUNNER.invoke(app, ["trian"]).exit_code == 2


def test_clean_leaves_a_folder_that_is_no_project_alone(tmp_path, monkeypatch):
    (tmp_path / "reports").mkdir()
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, ["clean", "--yes"])
    assert "is not a minigpt project" in str(done.exception)
    assert (tmp_path / "reports").is_dir()


@pytest.mark.parametrize("command", [["report"], ["preset", "tiny"], ["clean", "--yes"]])
def test_a_folder_that_is_no_project_is_named_and_left_as_it_is(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = RUNNER.invoke(app, command)
    assert f"{tmp_path} is not a minigpt project" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_clean_removes_nothing_while_something_is_at_work(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    state = tmp_path / ".work" / "pretrain"
    state.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    lock = take_lock(tmp_path / ".work" / "up.lock", "make up")
    refused = RUNNER.invoke(app, ["clean", "--yes"])
    assert ".work/up.lock is held by make up" in str(refused.exception)
    assert state.is_dir()
    os.close(lock)
    assert RUNNER.invoke(app, ["clean", "--yes"]).exit_code == 0
    assert not state.exists()


def test_clean_keeps_what_mlflow_has_yet_to_get(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / ".work" / "pretrain").mkdir(parents=True)
    journal = open_journal(tmp_path, "pretrain", "pretrain")
    journal.close()
    monkeypatch.chdir(tmp_path)
    assert RUNNER.invoke(app, ["clean", "--yes"]).exit_code == 0
    assert not (tmp_path / ".work" / "pretrain").exists()
    assert journal.path.is_file()


def test_doctor_imports_no_torch_unless_a_device_is_asked_for():
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from minigpt.cli.main import app\n"
        "print(CliRunner().invoke(app, ['doctor']).output)\n"
        "sys.exit('torch' in sys.modules)"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert "params.yaml" in done.stdout
    assert done.returncode == 0


class Browser:
    """What `webbrowser` finds; it notes what it was to open."""

    name = "a test"

    def __init__(self, starts):
        self.starts, self.opened = starts, []

    def open(self, address):
        self.opened.append(address)
        return self.starts


@pytest.fixture
def in_project(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).write_text((root / name).read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def test_the_report_is_opened_in_a_browser_which_is_named(in_project, monkeypatch):
    done = RUNNER.invoke(app, ["report"])
    assert done.stdout == "reports/index.html\n"
    assert "Next: minigpt report --open" in done.stderr
    page = (in_project / "reports" / "index.html").as_uri()
    browser = Browser(starts=True)
    monkeypatch.setattr("webbrowser.get", lambda: browser)
    done = RUNNER.invoke(app, ["report", "--open"])
    assert (browser.opened, done.stderr) == ([page], f"opened {page} in a test\n")
    done = RUNNER.invoke(app, ["report", "--open", "--json"])
    assert json.loads(done.stdout) == {"report": "reports/index.html"}


def test_where_no_browser_is_or_starts_the_report_says_so_and_where_the_page_is(
    in_project, monkeypatch
):
    def none():
        raise webbrowser.Error("could not locate runnable browser")

    for get, why in ((none, "no browser is found"), (lambda: Browser(False), "did not start")):
        monkeypatch.setattr("webbrowser.get", get)
        done = RUNNER.invoke(app, ["report", "--open"])
        assert (done.exit_code, done.stdout) == (0, "reports/index.html\n")
        assert why in done.stderr
        assert str(in_project / "reports" / "index.html") in done.stderr


def test_a_folder_whose_code_is_not_what_runs_is_told_so(tmp_path, monkeypatch):
    """A copy of a checkout with its .venv, whose scripts name the old one's Python."""
    (tmp_path / "minigpt").mkdir()
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).resolve().parents[2]
    for own, said in (
        (False, ""),
        (True, f"runs the code of {root}, not of this folder. Run: make setup"),
    ):
        if own:
            (tmp_path / "minigpt" / "__init__.py").touch()
        told = RUNNER.invoke(app, ["doctor", "--json"])
        assert told.stderr.strip().removeprefix("minigpt: ") == said
        check = json.loads(told.stdout)["checks"]["code"]
        assert check["ok"] is not own
        assert own == (str(root) in check["found"])


@pytest.mark.parametrize(
    "command",
    [
        "registry list", "registry log", "registry rollback", "registry promote 1",
        "lineage champion", "lineage --data text.txt", "compare 1 2", "verify 1",
        "verify 1 --from-cache", "report", "generate Hello", "chat", "registry sign",
        "takedown text.txt --reason x --dry-run",
    ],
)  # fmt: skip
def test_what_asks_about_versions_makes_no_store(command, in_project):
    (in_project / "text.txt").write_text("A text of nobody's.")
    done = RUNNER.invoke(app, command.split())
    said = f"{done.output}{done.exception or ''}"
    assert command == "report" or "no version" in said or "nothing was promoted" in said
    assert not {"mlflow.db", "mlruns"} & {path.name for path in in_project.iterdir()}


@pytest.mark.parametrize(
    "command", ["registry list", "registry log", "lineage champion", "lineage --data text.txt"]
)
def test_where_nothing_is_registered_the_store_that_was_asked_is_named(
    command, in_project, monkeypatch
):
    (in_project / "text.txt").write_text("A text of nobody's.")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{in_project}/elsewhere/typo.db")
    done = RUNNER.invoke(app, command.split())
    said = f"{done.output}{done.exception or ''}"
    assert "elsewhere/typo.db (MLFLOW_TRACKING_URI; no such file is there)" in said
    assert not (in_project / "elsewhere").exists()


def commands(group, path=()):
    """(words, command) of every command there is."""
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        yield from commands(command, (*path, name)) if inner else [((*path, name), command)]


EMPTY = [
    (words, command, parameter)
    for words, command in commands(get_command(app))
    for parameter in command.params
    if parameter.name not in (*TEXTS, "help") and not getattr(parameter, "is_flag", False)
]


@pytest.mark.parametrize(
    ("words", "command", "parameter"), EMPTY, ids=lambda value: getattr(value, "name", None)
)
@pytest.mark.parametrize("empty", ["", " "])
def test_no_command_takes_nothing_for_something(words, command, parameter, empty, in_project):
    """An unset shell variable: `minigpt takedown "$FILE"` would mean the current folder."""
    needed = ["x" for p in command.params if p.param_type_name == "argument" and p is not parameter]
    option = [parameter.opts[0]] if parameter.opts[0].startswith("-") else []
    done = RUNNER.invoke(app, [*words, *option, empty, *needed])
    assert isinstance(done.exception, ParamsError)
    assert "is empty. Is a variable not set? Nothing was done" in str(done.exception)


def test_plan_counts_the_training_that_quantize_may_do(in_project):
    text = (in_project / "params.yaml").read_text()
    assert "\n  finetune: null" in text
    chosen = "\n  finetune: {duration: {kind: steps, max_steps: 20}}"
    (in_project / "params.yaml").write_text(text.replace("\n  finetune: null", chosen))
    planned = json.loads(RUNNER.invoke(app, ["plan", "--json"]).stdout)["stages"]
    assert planned["quantize"]["steps"] == 20
    assert planned["quantize"]["text_tokens"] is None  # no text is here
