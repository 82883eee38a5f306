import hashlib
import json
import os
import re
import shutil
import signal
import subprocess

import pytest
import yaml
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import RegistryError
from minigpt.registry.refs import find_version
from minigpt.registry.registry import Registry
from minigpt.registry.verification import rebuild
from minigpt.registry.verification.verdict import Outcome, lines, summary
from minigpt.registry.verification.verify import verify, verify_from_cache

NAME = "minigpt-test"
RUNNER = CliRunner()
MODEL = "models/finetuned/model.safetensors"


def quiet(_line):
    pass


def tree_of(root):
    """Every file but MLflow's own, with its bytes; and what git says."""
    files = [p for p in root.rglob("*") if p.is_file() and p.name != ".lock"]
    compared = [p for p in files if not p.name.startswith("mlflow.db") and "tmp" not in p.parts]
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=root, capture_output=True, check=True
    )
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in compared}, status.stdout


def cached(root, path):
    """The object of DVC's cache that holds a file of the checkout."""
    md5 = hashlib.md5((root / path).read_bytes(), usedforsecurity=False).hexdigest()
    return root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]


def flip(path, at=-1):
    """Change one bit of a read-only file, as a bad disk would."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    path.chmod(mode)


@pytest.fixture
def ask(toy, monkeypatch):
    """A command of `minigpt` in the toy."""
    monkeypatch.chdir(toy.root)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command takes over Ctrl-C
    (toy.root / "params.yaml").unlink()  # the toy's is no whole one
    return lambda command, ref, *more: RUNNER.invoke(app, [command, f"{NAME}@challenger", *more])


def bad(report):
    return {v.path: (v.outcome, v.detail) for v in report.bad}


def test_a_version_is_rebuilt_byte_for_byte_and_leaves_nothing_behind(toy):
    (toy.root / "stages" / "build.py").write_text("raise SystemExit('code moved on')\n")
    toy.git("commit", "-q", "-am", "other code")
    (toy.root / "params.yaml").write_text("seed: 7\n")
    before, said = tree_of(toy.root), []
    report = verify(toy.registry, "challenger", said.append)
    assert report.verdict == "identical", bad(report)
    assert tree_of(toy.root) == before
    assert not (toy.root / ".work").exists()
    assert any(line.startswith("  build            ran") for line in said)
    assert json.loads(find_version(toy.registry, "1").verified)["verdict"] == "identical"
    assert summary(report).endswith("This model can be rebuilt from its sources, byte for byte.")


def test_a_rebuild_with_other_bytes_names_the_tensor_and_takes_the_proof_back(toy, monkeypatch):
    version = find_version(toy.registry, "1")

    toy.registry.store.client.set_model_version_tag(NAME, "1", "minigpt.verified", "{}")
    monkeypatch.setenv("TWIST", "1")
    report = verify(toy.registry, "1", quiet)
    [(path, (outcome, detail))] = bad(report).items()
    assert (path, outcome, report.holds) == (MODEL, Outcome.DIFFERENT, False)
    assert detail.startswith("first at ")
    assert "became" in detail
    assert find_version(toy.registry, version.version).verified is None


def test_hashing_again_finds_everything_whole_and_touches_nothing(toy):
    before = tree_of(toy.root)
    report = verify_from_cache(toy.registry, "1")
    assert report.verdict == "identical", bad(report)
    assert {v.path for v in report.verdicts} >= {MODEL, "data/documents/documents.parquet"}
    assert tree_of(toy.root) == before


def test_one_flipped_bit_in_a_read_only_object_names_file_tensor_and_values(toy):
    flip(cached(toy.root, MODEL))  # the toy's base and fine-tuned model are one object
    report = verify_from_cache(toy.registry, "1")
    assert list(bad(report)) == [MODEL.replace("finetuned", "base"), MODEL]
    for outcome, detail in bad(report).values():
        assert outcome is Outcome.DIFFERENT
        assert "in DVC's cache: first at " in detail
        assert " became " in detail
    assert (MODEL, "DIFFERENT") in [line[:2] for line in lines(report.verdicts)]
    assert summary(report).startswith("DIFFERENT: 2 of ")


def test_an_object_that_was_cut_off_is_a_difference(toy):
    path = cached(toy.root, MODEL)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-9])
    report = verify_from_cache(toy.registry, "1")
    outcome, detail = bad(report)[MODEL]
    assert outcome is Outcome.DIFFERENT
    assert f"{len(whole):,} bytes became {len(whole) - 9:,}; equal up to byte" in detail


def test_of_another_model_the_report_names_it(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    report = verify_from_cache(toy.registry, "models/finetuned")
    assert summary(report).endswith("minigpt verify 1")
    report = verify_from_cache(Registry(toy.root, "minigpt"), f"{NAME}@challenger")
    assert summary(report).endswith(f"minigpt verify models:/{NAME}/1")


def test_one_flipped_bit_in_the_registry_names_file_and_tensor(toy):
    [stored] = (toy.root / "mlruns").rglob("finetuned/model.safetensors")
    flip(stored)
    report = verify_from_cache(toy.registry, "1")
    [(path, (outcome, detail))] = bad(report).items()
    assert (path, outcome) == (MODEL, Outcome.DIFFERENT)
    assert detail.startswith("in the registry: first at ")


def test_a_lost_object_is_missed_only_where_the_registry_has_no_copy(toy):
    cached(toy.root, "models/base/model.json").unlink()
    assert verify_from_cache(toy.registry, "1").holds
    cached(toy.root, "data/documents/documents.parquet").unlink()
    report = verify_from_cache(toy.registry, "1")
    assert (bad(report), report.holds, report.verdict) == ({}, False, "not all here")
    [verdict] = report.absent
    assert verdict.path == "data/documents/documents.parquet"
    assert "not in DVC's cache" in verdict.detail


def test_what_was_never_pulled_is_not_here_and_what_is_here_and_wrong_is_different(toy, ask):
    shutil.rmtree(toy.root / ".dvc" / "cache")  # as a clone's before a pull
    before = tree_of(toy.root)
    done = ask("verify", "1", "--from-cache")
    assert done.exit_code == 4, done.output
    assert re.search(r"data/documents +1 file +not here\n", done.stdout)
    assert re.search(r"models/finetuned +4 files +identical\n", done.stdout)  # the registry's
    assert re.search(
        r"^not all here: \d+ of \d+ files are not in DVC's cache", done.stdout, re.MULTILINE
    )
    assert "DIFFERENT" not in done.output
    assert "delete" not in done.output
    assert "what is not here: dvc pull." in done.stderr
    assert tree_of(toy.root) == before

    [stored] = (toy.root / "mlruns").rglob("finetuned/model.safetensors")
    flip(stored)
    done = ask("verify", "1", "--from-cache")
    assert done.exit_code == 1
    assert re.search(rf"{MODEL} +DIFFERENT +in the registry", done.stdout)
    assert re.search(r"^DIFFERENT: 1 of \d+ files\.$", done.stdout, re.MULTILINE)
    assert "put the store's files back" in done.stderr
    assert "what is not here: dvc pull." in done.stderr

    stored.unlink()
    done = ask("verify", "1", "--from-cache", "--json")
    assert (done.exit_code, json.loads(done.stdout)["verdict"]) == (1, "different")
    assert re.search(r"^MISSING: 1 of", ask("verify", "1", "--from-cache").stdout, re.MULTILINE)


def test_a_pull_of_another_commit_brings_nothing_of_a_version_of_this_one(toy, ask):
    lock = (toy.root / "dvc.lock").read_text()
    (toy.root / "dvc.lock").write_text(re.sub(r"md5: [0-9a-f]{30}", f"md5: {'0' * 30}", lock))
    shutil.rmtree(toy.root / ".dvc" / "cache")
    done = ask("verify", "1", "--from-cache")
    assert (done.exit_code, "dvc fetch --all-commits" in done.stderr) == (4, True)


def test_a_folder_whose_list_in_the_cache_is_spoilt_is_named_once(toy):
    lock = yaml.safe_load((toy.root / "dvc.lock").read_text())
    outs = {out["path"]: out["md5"] for out in lock["stages"]["build"]["outs"]}
    md5 = outs["data/documents"]
    flip(toy.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:], at=20)
    [(path, (outcome, detail))] = bad(verify_from_cache(toy.registry, "1")).items()
    assert (path, outcome) == ("data/documents", Outcome.DIFFERENT)
    assert "the list of its files" in detail


@pytest.mark.parametrize("name", ["manifest.json", "files.json"])
def test_a_list_that_was_edited_is_refused(toy, name):
    [stored] = (toy.root / "mlruns").rglob(f"release/{name}")
    stored.write_text(re.sub("[0-9a-f]{64}", "0" * 64, stored.read_text()))
    with pytest.raises(RegistryError, match=rf"its release/{name} cannot be used"):
        verify_from_cache(toy.registry, "1")


def test_a_commit_that_is_gone_is_said_and_nothing_is_left(toy):
    shutil.rmtree(toy.root / ".git")
    toy.git("init", "-q")
    with pytest.raises(RegistryError, match=r"git no longer has .* --from-cache"):
        verify(toy.registry, "1", quiet)
    assert not (toy.root / ".work").exists()


def test_the_command_says_a_line_an_output_and_exits_with_1_on_a_difference(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the command takes over Ctrl-C
    reference = f"{NAME}@challenger"
    done = RUNNER.invoke(app, ["verify", reference, "--from-cache"])
    assert done.exit_code == 0, done.output
    assert re.search(r"models/finetuned +4 files +identical\n", done.stdout)
    assert re.search(r"identical: (\d+) of \1 files are what was registered", done.stdout)
    flip(cached(toy.root, MODEL))
    done = RUNNER.invoke(app, ["verify", reference, "--from-cache", "--json"])
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["verdict"], report["holds"], report["mode"]) == (
        "different",
        False,
        "from-cache",
    )
    done = RUNNER.invoke(app, ["verify", reference, "--signature"])
    assert done.exit_code == 1
    assert "not signed" in done.stdout


def test_what_a_killed_verification_left_is_removed_and_a_living_one_is_not(tmp_path):
    base = tmp_path / rebuild.FOLDER
    for name in ("1", "2"):
        (base / name / "tree").mkdir(parents=True)
    (base / "1.lock").write_text("{}")
    lock = rebuild.take_lock(base / "2.lock")
    with rebuild.clean_folder(tmp_path) as folder:
        assert folder.name == str(os.getpid())
        assert {p.name for p in base.iterdir() if p.is_dir()} == {"2", folder.name}
    assert sorted(p.name for p in base.iterdir()) == ["2", "2.lock"]
    os.close(lock)


def test_a_place_that_cannot_be_written_is_said_in_one_line(tmp_path):
    (tmp_path / ".work").write_text("in the way")
    said = r"\.work/verify: a rebuild needs a folder there"
    with pytest.raises(RegistryError, match=said) as refusal, rebuild.clean_folder(tmp_path):
        pass
    assert "\n" not in str(refusal.value)
