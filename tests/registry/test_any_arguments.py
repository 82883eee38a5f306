"""Whatever is typed behind a command that only reads: it ends, and never with a traceback."""

import contextlib
import io
import os
import shutil
import sys
import webbrowser
from itertools import chain
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from typer.main import get_command

from minigpt.cli import shared
from minigpt.cli.main import app, main
from minigpt.tracking.relocate import relocate
from tests.registry.promotions import NAME

READ = [
    ("doctor",), ("plan",), ("report",), ("lineage",), ("compare",), ("generate",), ("verify",),
    ("chat",), ("completion",), ("takedown",), ("registry", "list"), ("registry", "log"),
]  # fmt: skip
NOT_HERE = {"--yes", "-y", "--wait", "--help", "-h", "--trust-store"}
"""What changes something, waits, builds for minutes, or only prints the help."""
ODD = [
    "", " ", "-", "--", ".", "..", "/", "~", "~nobody", "0", "1", "2", "-1", "1.5", "nan", "inf",
    "champion", "challenger", f"{NAME}@champion", f"models:/{NAME}/1", "models:/", "@", "a@b/c",
    "٣", "²", "9" * 5000, "x" * 300, "a'b", 'a"b', "%s", "{}", "*", "\\", "\n", "\x1b[2J", "💥",
    "\udcff", "deadbeef", "0" * 64, "text.txt", "texts", "broken.jsonl", "gone.txt", "dvc.yaml",
    "data/local/x.txt", "models/finetuned", "sqlite:///x", "--json", "--no-such-option",
]  # fmt: skip


def command_of(words):
    """The command that these words call."""
    command = get_command(app)
    for word in words:
        command = command.commands[word]
    return command


def typed(words):
    """Anything a person may type behind these words."""
    options = {
        option: getattr(parameter, "is_flag", False)
        for parameter in command_of(words).params
        for option in parameter.opts
        if option.startswith("-") and option not in NOT_HERE
    }
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    value = st.sampled_from(ODD) | text.filter(lambda t: t not in NOT_HERE)
    name = st.sampled_from(sorted(options)) if options else st.nothing()
    option = name.flatmap(lambda o: st.just([o]) if options[o] else value.map(lambda v: [o, v]))
    joined = name.filter(lambda o: not options[o]).flatmap(
        lambda o: value.map(lambda v: [f"{o}={v}"])
    )
    piece = value.map(lambda v: [v]) | (option | joined if options else st.nothing())
    return st.lists(piece, max_size=4).map(lambda pieces: [*words, *chain.from_iterable(pieces)])


def said_by(arguments):
    """Exit code and stderr of `minigpt ARGUMENTS`, in this process."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code = 0
    with (
        mock.patch.object(sys, "argv", ["minigpt", *arguments]),
        mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"n\n"))),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as error:
            code = error.code
        out.flush(), err.flush()
    return code, err.buffer.getvalue().decode()


@pytest.fixture(scope="module")
def project(registered, tmp_path_factory):
    """A checkout with one version; no command finds a browser, a server or a key of the user's."""
    root = tmp_path_factory.mktemp("any arguments") / "copy"
    shutil.copytree(registered.root, root)
    relocate(root)
    (root / "data" / "validation.json").unlink()  # the tests' own figures are no whole ones
    shutil.rmtree(root / "results")
    (root / "texts").mkdir()
    (root / "text.txt").write_text("A text of nobody's.")
    (root / "texts" / "latin.txt").write_bytes(b"caf\xe9")
    (root / "broken.jsonl").write_text('{"text": "fine"}\n{')
    before, environment = Path.cwd(), dict(os.environ)
    os.environ |= {"MINIGPT_KEY": "none", "COLUMNS": "100"}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.chdir(root)
    none = mock.Mock(side_effect=webbrowser.Error("none"))
    with (
        mock.patch.object(webbrowser, "get", none),
        mock.patch.object(shared, "model_name", return_value=NAME),
    ):
        yield root
    os.chdir(before)
    os.environ.clear()
    os.environ |= environment


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(arguments=st.sampled_from(READ).flatmap(typed))
@example(arguments=["lineage", "--data", "\udcff"])
@example(arguments=["lineage", "--data", "9" * 5000])
@example(arguments=["compare", "1", "x" * 300])
@example(arguments=["generate", "--model", "champion", "--seed", "9" * 5000])
def test_no_arguments_of_a_command_that_reads_end_in_a_traceback(project, arguments):
    code, said = said_by(arguments)
    assert code in (0, 1, 2, 3, 4)
    assert "Traceback" not in said
