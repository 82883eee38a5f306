"""The command line: help that shows examples, and exit codes."""

import pytest
from typer.testing import CliRunner

from minigpt import __version__
from minigpt.cli.main import app

RUNNER = CliRunner()
COMMANDS = [
    ["generate"], ["doctor"], ["plan"], ["report"], ["preset"], ["clean"],
    ["registry", "list"], ["registry", "sync"], ["registry", "promote"], ["registry", "relocate"],
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
