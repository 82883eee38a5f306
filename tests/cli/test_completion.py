"""`minigpt completion`: a script for the shell, and models for `--model`."""

import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from minigpt.cli import completion
from minigpt.cli.completion import known_models
from minigpt.cli.main import app


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_its_shell_takes(shell):
    done = CliRunner().invoke(app, ["completion", shell])
    assert (done.exit_code, done.stderr) == (0, "")
    assert "_MINIGPT_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True)


def completed(*words):
    """What bash would be told behind these words."""
    environment = {
        "_MINIGPT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["minigpt", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return CliRunner().invoke(app, [], env=environment, prog_name="minigpt").stdout.split()


def test_commands_and_options_are_completed():
    assert completed("gen") == ["generate"]
    assert set(completed("generate", "--json")) == {"--json", "--json-schema"}


def test_models_are_completed_by_what_the_registry_holds(monkeypatch):
    monkeypatch.setattr(completion, "models_here", lambda: iter(["champion", "challenger", "12"]))
    assert completed("generate", "-m", "ch") == ["champion", "challenger"]
    assert completed("chat", "--model", "1") == ["12"]


def test_packages_are_named_where_nothing_is_registered(tmp_path, monkeypatch):
    for name in ("base", "finetuned"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.json").touch()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert known_models("models/f") == ["models/finetuned"]
    assert not list(tmp_path.glob("*.db"))


@pytest.mark.parametrize("damage", ["params.yaml", "mlflow.db"])
def test_where_anything_is_wrong_nothing_is_said(tmp_path, monkeypatch, capfd, damage):
    (tmp_path / "dvc.yaml").touch()
    for name in ("params.yaml", "mlflow.db"):
        (tmp_path / name).touch()
    (tmp_path / damage).write_text("{\0")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert known_models("") == []
    assert capfd.readouterr() == ("", "")


def test_no_server_is_asked_while_somebody_types(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    assert known_models("") == []
