"""`minigpt registry promote`, `rollback` and `log`, as a person types them."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import BusyError, GateRefusedError, RegistryError
from minigpt.process import take_lock
from minigpt.registry.promotion import promote as promotions
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry

RUNNER = CliRunner()


@pytest.fixture
def run(changed, monkeypatch):
    """Run a command in the checkout; an error of ours is raised, as in the entry point."""
    monkeypatch.chdir(changed.root)
    (changed.root / "params.yaml").write_text("release: {name: minigpt-test}\n")

    def decide(registry, challenger, champion, gate):
        worse = champion is not None and challenger.bits_per_byte > champion.bits_per_byte
        found, remedy = f"{challenger.bits_per_byte} bits per byte", "train longer" if worse else ""
        return (Condition("speeches", found, not worse, remedy),)

    monkeypatch.setattr(promotions, "decide", decide)

    def invoke(*arguments):
        done = RUNNER.invoke(app, ["registry", *arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done

    return invoke


def test_promote_rollback_and_log_say_what_was_done_and_what_comes_next(run, add_version):
    done = run("promote", "1")
    assert done.stdout == "minigpt-test 1 is champion\n"
    add_version(1.7)
    done = run("promote", "2")
    assert done.stdout == "minigpt-test 2 is champion in place of version 1\n"
    assert "minigpt registry rollback" in done.stderr
    add_version(1.9)
    with pytest.raises(GateRefusedError, match=r"1.9 bits per byte\n +train longer(.|\n)*--force"):
        run("promote", "3")
    done = run("rollback", "--reason", "it answers in verse")
    assert "restored minigpt-test 1 in place of version 2 (registered " in done.stdout
    assert "minigpt registry rollback --to 2" in done.stderr
    done = run("log")
    lines = [line.split("  ") for line in done.stdout.splitlines()]
    assert [[cell.strip() for cell in line if cell][2:4] for line in lines[1:]] == [
        ["promoted", "1"],
        ["promoted", "2 in place of 1"],
        ["refused", "3 in place of 2"],
        ["rolled back", "1 in place of 2"],
    ]
    assert "speeches: 1.9 bits per byte; train longer" in done.stdout.splitlines()[3]
    assert done.stdout.splitlines()[4].endswith("it answers in verse")
    assert "4 events, chained" in done.stderr
    events = json.loads(run("log", "--json").stdout)
    assert [event["version"] for event in events] == ["1", "2", "3", "1"]
    assert events[2]["conditions"][0]["found"] == "1.9 bits per byte"
    assert [e["conditions"][0]["remedy"] for e in events[:3]] == ["", "", "train longer"]


def test_a_forced_promotion_says_what_was_overruled_and_what_came_of_it(run, add_version):
    run("promote", "1")
    add_version(1.9)
    done = run("promote", "2", "--force", "--reason", "a newer corpus")
    assert done.stdout.endswith(
        "is champion in place of version 1 (forced: it does not meet all conditions)\n"
    )
    assert done.stderr.splitlines()[0] == "  NOT speeches       1.9 bits per byte"
    [_, _, row] = run("log").stdout.splitlines()
    assert row.rstrip().endswith("a newer corpus · speeches: 1.9 bits per byte")


def test_of_a_rollback_without_a_reason_the_log_does_not_make_one_up(run, add_version):
    run("promote", "1")
    add_version(1.7)
    run("promote", "2", "--reason", "the letters are in")
    done = run("rollback")
    user = promotions.log.user()
    assert f"in the log: rolled back by {user}, no reason given (--reason gives one)" in done.stderr
    rows = run("log").stdout.splitlines()[1:]
    assert [row.split("  ")[-1].strip() for row in rows] == [
        "it meets the conditions",
        "the letters are in",
        "no reason given",
    ]
    assert f"rolled back  1 in place of 2  {user} " in rows[2]


UNKNOWN = """
import sys
from typer.testing import CliRunner
from minigpt.cli.main import app
for command in sys.argv[1:]:
    done = CliRunner().invoke(app, command.split())
    assert getattr(done.exception, "exit_code", None) == 2, (command, done.exception, done.output)
    heavy = {"torch", "mlflow", "numpy", "pyarrow", "cryptography", "sqlalchemy"} & set(sys.modules)
    assert not heavy, (command, heavy)
"""


def test_an_unknown_version_is_refused_before_anything_heavy_is_imported(run, changed):
    commands = [
        "lineage 99", "lineage night", "lineage models:/other/1", "lineage 99 --patch",
        "compare 99 1", "compare 1 99", "verify 99", "verify 99 --from-cache",
        "verify 99 --signature", "registry promote 99", "registry promote champion",
        "registry rollback", "registry rollback --to 99", "registry sign 99", "registry sbom 99",
        "generate -m 99 To", "generate -m night To",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", UNKNOWN, *commands],
        cwd=changed.root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_version_that_was_made_in_mlflow_is_said_to_be_no_one_of_ours(run, changed):
    client, first = changed.registry.store.client, find_version(changed.registry, "1")
    source = client.get_model_version_download_uri("minigpt-test", "1")
    client.create_model_version("minigpt-test", source, first.run_id)
    client.set_registered_model_alias("minigpt-test", "champion", "2")
    done = run("list")
    assert re.search(r"^minigpt-test 2 +champion +- +- +-$", done.stdout, re.MULTILINE), done.stdout
    assert "registered by other means, with no digest: 2\n" in done.stderr
    shown = RUNNER.invoke(app, ["lineage"]).stdout.splitlines()[0]
    assert shown == (
        "minigpt-test version 2 · champion (made so by other means: minigpt registry log) · "
        "no sha256: registered by other means"
    )
    for command in ("verify 2 --from-cache", "verify 2", "verify 2 --signature"):
        error = RUNNER.invoke(app, command.split()).exception
        assert "was registered by other means than minigpt" in str(error), (command, error)


def test_of_a_champion_that_was_moved_behind_the_log_no_earlier_time_is_shown(run, add_version):
    run("promote", "1")
    add_version(1.7)
    run("promote", "2")
    assert "champion since 20" in RUNNER.invoke(app, ["lineage"]).stdout
    root = Path.cwd()
    Registry(root, "minigpt-test").store.client.set_registered_model_alias(
        "minigpt-test", "champion", "1"
    )
    shown = RUNNER.invoke(app, ["lineage"]).stdout.splitlines()[0]
    assert "champion (made so by other means: minigpt registry log)" in shown


def test_compare_says_what_to_type_where_both_are_one_version(run, changed, add_version):
    run("promote", "1")
    client = changed.registry.store.client
    client.set_registered_model_alias("minigpt-test", "challenger", "1")
    said = RUNNER.invoke(app, ["compare", "champion", "challenger"]).stderr
    assert said == (
        "champion and challenger are both minigpt-test 1: no other is there yet. For another, "
        "change params.yaml, then: make run\n"
    )
    add_version(1.7)
    said = RUNNER.invoke(app, ["compare", "champion", "1"]).stderr
    assert said.endswith("are both minigpt-test 1: nothing to compare. Next: minigpt compare 1 2\n")
    client.delete_registered_model_alias("minigpt-test", "challenger")
    error = RUNNER.invoke(app, ["compare", "champion", "challenger"]).exception
    assert "no version of minigpt-test is called challenger yet" in str(error)
    assert str(error).endswith("minigpt registry sync")


def test_about_another_model_the_next_command_names_it(run, add_version):
    for bits in (1.9, 1.8):
        add_version(bits, name="other")
    run("promote", "models:/other/1")
    done = run("promote", "models:/other/2")
    assert "minigpt registry rollback --to models:/other/1\n" in done.stderr
    done = run("rollback", "--to", "models:/other/1")
    assert "minigpt registry rollback --to models:/other/2\n" in done.stderr


def test_nothing_is_registered_while_something_builds_here(run, changed):
    lock = take_lock(changed.root / ".work" / "workspace.lock", "make run")
    with pytest.raises(BusyError, match=r"is in use by make run .*--wait"):
        run("sync")
    os.close(lock)
    assert run("sync").stdout == "minigpt-test 1 · challenger\n"


def test_a_log_with_a_gap_is_shown_and_the_command_fails(run, changed, add_version):
    run("promote", "1")
    add_version(1.7)
    run("promote", "2")
    first, _ = json.loads(run("log", "--json").stdout)
    changed.registry.store.client.delete_run(first["run_id"])
    with pytest.raises(RegistryError, match="event 1 was deleted"):
        run("log")


def test_a_name_without_events_says_how_to_begin(run):
    assert "minigpt registry promote challenger" in run("log").stderr


def test_an_alias_whose_version_was_deleted_is_named_and_mended(run, changed, add_version):
    add_version(1.7)
    run("promote", "2")
    client = changed.registry.store.client
    client.delete_model_version("minigpt-test", "2")
    with sqlite3.connect(changed.root / "mlflow.db") as store:  # MLflows of old leave them
        store.execute("delete from registered_model_aliases")
        store.executemany(
            "insert into registered_model_aliases (alias, version, name, workspace) "
            "values (?, 2, 'minigpt-test', 'default')",
            [("challenger",), ("champion",), ("tried",)],
        )
    said = "{} is version 2 of minigpt-test, which was deleted in MLflow. {}"
    champion = said.format("champion", "Run: minigpt registry promote 1")
    challenger = said.format("challenger", "Run: minigpt registry sync")
    tried = said.format("tried", "Delete the alias in MLflow, or set it anew")
    assert run("list").stderr.splitlines() == [challenger, champion, tried]
    for command, refusal in (("promote", challenger), ("rollback", champion)):
        with pytest.raises(RegistryError) as raised:
            run(command)
        assert str(raised.value) == refusal
    assert run("promote", "1").stdout == "minigpt-test 1 is champion\n"
    assert champion not in run("list").stderr


ESCAPES = "\x1b[2J\x9b31m\r\nminigpt-test 9  champion"


def test_a_text_of_the_store_neither_moves_the_cursor_nor_adds_a_line(run, changed):
    rows = len(run("list").stdout.splitlines())
    with sqlite3.connect(changed.root / "mlflow.db") as store:
        row = (ESCAPES, "minigpt-test")
        store.execute("insert into registered_model_aliases values (?, 1, ?, 'default')", row)
        for key, value in (("minigpt.commit", ESCAPES), ("minigpt.taken_down", "{}")):
            row = (value, key, "minigpt-test")
            store.execute("delete from model_version_tags where key = ? and name = ?", row[1:])
            store.execute(
                "insert into model_version_tags (value, key, name, version, workspace) "
                "values (?, ?, ?, 1, 'default')",
                row,
            )
    listed, lineage = run("list").stdout, RUNNER.invoke(app, ["lineage", "1"]).stdout
    assert len(listed.splitlines()) == rows
    for shown in (listed, lineage, run("list", "--json").stdout):
        assert not {"\x1b", "\x9b", "\r"} & set(shown)
        assert not any(line.startswith("minigpt-test 9") for line in shown.splitlines())
    assert r"\x1b[2J\x9b31m minigpt-test 9  champion" in listed
    assert r"\x1b[2J\x9b31m minigpt-test 9  champion" in lineage


def test_a_figure_that_was_edited_is_named(run, changed):
    with sqlite3.connect(changed.root / "mlflow.db") as store:
        store.execute(
            "update model_version_tags set value = 'low' where key = 'minigpt.bits_per_byte'"
        )
    with pytest.raises(RegistryError, match=r"minigpt-test 1: its tag .* is 'low', not a number"):
        run("list")
