"""`minigpt lineage`."""

import json
import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.cli.overview import run_places
from minigpt.digest import file_digest
from minigpt.errors import ParamsError, RegistryError
from minigpt.registry.lineage.record import Record
from minigpt.registry.lineage.trace import by_digest, trace
from minigpt.registry.overview import overview, runs_at
from minigpt.registry.promotion.audit_log import AuditLog
from minigpt.registry.refs import find_version
from minigpt.registry.versions import BITS, TAKEN_DOWN, VERIFIED
from minigpt.tracking.store import Store
from tests.registry.checkout import NAME
from tests.registry.story import LETTERS

RUNNER = CliRunner()


def invoke(story, monkeypatch, *arguments):
    monkeypatch.chdir(story.root)
    done = RUNNER.invoke(app, ["lineage", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done


def test_the_command_tells_a_version_on_one_screen(own_story, monkeypatch):
    at = json.dumps({"at": "2026-11-24T21:04:00+00:00", "verdict": "identical"})
    own_story.registry.store.client.set_model_version_tag(NAME, "3", VERIFIED, at)
    done = invoke(own_story, monkeypatch, "3", "--stages")
    screen, table, archives = done.stdout.split("\n\n")
    version = find_version(own_story.registry, "3")
    lines = screen.splitlines()
    assert lines[0] == f"{NAME} version 3 · challenger · sha256 {version.digest[:12]}…"
    assert lines[1].startswith(f"  code      commit {version.commit[:12]} (clean) · params.yaml ")
    assert lines[2] == "  machine   linux-x86_64 avx2 · torch 2.13.0+cpu · cpu · 2 threads · eager"
    assert lines[3].startswith("  sources   data/local/letters  ")
    assert lines[4].startswith("            plays 0.6           ")
    assert lines[4].endswith("public domain")
    assert lines[5] == "  stages    download ran · pretrain from cache (run of version 2)"
    assert lines[6] == (
        "  judged    1.80 bits per byte on speeches (95 %: 1.78 to 1.82) · "
        "2.20 on plays (95 %: 2.18 to 2.22)"
    )
    assert "verified byte for byte on 2026-11-24 · provenance" in lines[7]
    assert own_story.runs["pretrain"] in table
    assert re.search(rf"registration +ran +- +{version.run_id}\n", f"{table}\n")
    digest = file_digest(own_story.root / "data" / "archives" / "plays-0.6.tar")
    assert re.search(rf"plays +plays-0\.6\.tar +{digest}\n", archives)
    assert "minigpt verify 3" in done.stderr
    assert "make up" in done.stderr
    facts = json.loads(invoke(own_story, monkeypatch, "3", "--json").stdout)
    assert Record.model_validate(facts["record"]) == own_story.record(3)
    assert facts["runs"]["pretrain"] == own_story.runs["pretrain"]
    assert facts["patch"] is None


def test_the_command_tells_by_what_the_tree_differed_from_the_commit(own_story, monkeypatch):
    patch = own_story.artifacts(2) / "source.patch"
    done = invoke(own_story, monkeypatch, "2", "--stages")
    assert done.stdout.endswith(f"\n\nsource.patch  {patch}\n")
    assert "minigpt lineage 2 --patch" in done.stderr
    assert json.loads(invoke(own_story, monkeypatch, "2", "--json").stdout)["patch"] == str(patch)
    printed = invoke(own_story, monkeypatch, "2", "--patch").stdout_bytes
    assert printed == patch.read_bytes() != b""
    clean = invoke(own_story, monkeypatch, "3", "--patch")
    assert clean.stdout == ""
    assert clean.stderr == "3 has no source.patch: its tree was as its commit has it\n"
    patch.unlink()
    assert "source.patch  is gone" in invoke(own_story, monkeypatch, "2", "--stages").stdout
    with pytest.raises(RegistryError, match=r"2 has no source\.patch: it is gone"):
        invoke(own_story, monkeypatch, "2", "--patch")
    with pytest.raises(ParamsError, match="with a version alone"):
        invoke(own_story, monkeypatch, "2", "--patch", "--json")


def test_a_run_on_a_server_is_given_as_a_link(own_story, monkeypatch):
    lineage = overview(own_story.registry, "3")
    at = runs_at(
        SimpleNamespace(
            store=Store("http://me:secret@host:5000/", own_story.registry.store.client, "7")
        )
    )
    assert at == "http://host:5000/#/experiments/7/runs/"
    places = run_places(replace(lineage, runs_at=at))
    assert places["pretrain"] == f"{at}{own_story.runs['pretrain']}"
    assert places["registration"] == f"{at}{lineage.version.run_id}"


def test_of_another_model_the_next_commands_name_it(own_story, monkeypatch):
    monkeypatch.setattr("minigpt.cli.shared.model_name", lambda: "minigpt")
    said = invoke(own_story, monkeypatch, f"models:/{NAME}/3").stderr
    assert f"minigpt verify models:/{NAME}/3 · minigpt lineage models:/{NAME}/3 --stages" in said


def test_the_command_tells_who_was_beaten_and_what_should_not_have_been_learned(
    own_story, monkeypatch
):
    client = own_story.registry.store.client
    client.set_model_version_tag(NAME, "2", BITS, "1.86")
    AuditLog(own_story.registry, NAME).append(
        "promoted", version=find_version(own_story.registry, "3"), before="2"
    )
    client.set_registered_model_alias(NAME, "champion", "3")
    down = {"documents": ["f" * 64], "reason": "the sister asked", "at": "2026-11-25T01:00:00"}
    client.set_model_version_tag(NAME, "3", TAKEN_DOWN, json.dumps(down))
    screen = invoke(own_story, monkeypatch).stdout  # nothing named: champion
    assert re.search(r"version 3 · challenger · champion since \d{4}-\d\d-\d\d \d\d:\d\d ·", screen)
    assert "beat version 2 by 0.06" in screen
    assert (
        "warning   it learned from a document that was taken down on 2026-11-25: the sister asked"
        in screen
    )


def test_the_command_tells_which_versions_a_text_went_into(own_story, monkeypatch):
    path = "data/local/letters/1862-03.txt"
    done = invoke(own_story, monkeypatch, "--data", path)
    assert (
        done.stdout == "used in training: versions 2, 3 · held out: none · version 1 never saw it\n"
    )
    assert f"minigpt takedown {path}" in done.stderr
    done = invoke(own_story, monkeypatch, "--data", "f" * 64)
    assert done.stdout == "no version ever saw it\n"
    answer = json.loads(invoke(own_story, monkeypatch, "--data", path, "--json").stdout)[NAME]
    assert (answer["trained"], answer["never"], answer["here"]) == (["2", "3"], ["1"], True)
    (own_story.root / path).write_text("rewritten\n")
    done = invoke(own_story, monkeypatch, "--data", path)
    assert "no version ever saw it\n  version 2 had another text at that path: " in done.stdout


def test_of_a_file_that_is_gone_nobody_says_that_it_was_never_seen(
    own_story, tmp_path, monkeypatch
):
    gone = "data/local/letters/1862-09.txt"
    (tmp_path / "it").write_bytes(LETTERS["1862-09.txt"].encode())
    file = file_digest(tmp_path / "it")
    [holding] = trace(own_story.registry, by_digest(file)).holdings
    had = f"letters/1862-09.txt (train, sha256 {holding.sha256})"
    done = invoke(own_story, monkeypatch, "--data", gone)
    assert done.stdout == (
        f"that file is not here\n  version 2 had a text that may be it at that path: {had}\n"
    )
    assert f"Next: minigpt takedown {file} " in done.stderr
    answer = json.loads(invoke(own_story, monkeypatch, "--data", gone, "--json").stdout)[NAME]
    assert (answer["never"], answer["here"]) == ([], False)
    asked = RUNNER.invoke(app, ["takedown", gone, "--reason", "asked", "--yes"])
    assert isinstance(asked.exception, ParamsError)
    said = str(asked.exception)
    assert said == (
        f"{gone}: that file is not here, so its text is not known. "
        f"At that path {NAME} 2 had {had}. Run: minigpt takedown {file}"
    )
    done = invoke(own_story, monkeypatch, "--data", "data/local/letters/none.txt")
    assert done.stdout == "that file is not here · no version had a text at that path\n"
    asked = RUNNER.invoke(app, ["takedown", "data/local/letters/none.txt", "--dry-run"])
    assert "No version had a text at that path. Put the file back" in str(asked.exception)


def test_a_package_folder_names_the_version_that_holds_it(own_story, monkeypatch, tmp_path):
    shutil.copytree(own_story.root / "models" / "finetuned", tmp_path / "sent")
    done = invoke(own_story, monkeypatch, str(tmp_path / "sent"))
    assert done.stdout.startswith(f"{NAME} version 3 · ")
    (tmp_path / "sent" / "model.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"no version of minigpt-test holds this package"):
        invoke(own_story, monkeypatch, str(tmp_path / "sent"))


def test_a_version_and_a_text_are_not_asked_for_at_once(own_story, monkeypatch):
    with pytest.raises(ParamsError, match="give it alone"):
        invoke(own_story, monkeypatch, "3", "--data", "f" * 64)
