import hashlib
import json
from types import SimpleNamespace

import pytest

from minigpt.data.archives import pack_folder
from minigpt.errors import RegistryError
from minigpt.registry.artifacts import VersionFiles
from minigpt.registry.verification.compare_files import TOLERANCE, judge_figures
from minigpt.registry.verification.materials import FETCHED, Places, bring
from minigpt.registry.verification.rebuild import Progress
from minigpt.registry.verification.verdict import Outcome
from minigpt.registry.verification.verify import explained, other_machine, other_packages

NAME = "minigpt-test"


def held_version(tmp_path, files):
    """A version that lists `files` (path -> sha256) and holds nothing else."""
    release = tmp_path / "artifacts" / "release"
    release.mkdir(parents=True)
    entries = [{"path": p, "size": 1, "sha256": s} for p, s in files.items()]
    (release / "files.json").write_text(json.dumps({"format": 1, "files": entries}))
    version = SimpleNamespace(name=NAME, version="3")
    return VersionFiles(version, tmp_path / "artifacts", None)


PINNED = {
    "kind": "package", "package": "p", "version": "1", "role": "pretrain", "licence": "x",
    "pin": {"filename": "p-1.tar.gz", "sha256": hashlib.sha256(b"text").hexdigest(), "bytes": 4},
}  # fmt: skip
LOCAL = {"kind": "local", "path": "data/local/mine", "role": "finetune", "licence": "private"}


def brought(tmp_path, params, files, fetched=None):
    places = Places(tmp_path, tmp_path / "cache", tmp_path / "dvc", files)
    return bring(
        files, {"sources": params}, places, tmp_path / "tree", tmp_path / "new", lambda: fetched
    )


def test_an_archive_that_an_index_forgot_comes_from_the_workspace_if_its_hash_is_right(tmp_path):
    digest = PINNED["pin"]["sha256"]
    files = held_version(tmp_path, {"data/archives/p-1.tar.gz": digest})
    archive = tmp_path / "data" / "archives" / "p-1.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"spoilt")
    assert "index" in brought(tmp_path, {"plays": PINNED}, files)["plays"]
    assert not (tmp_path / "new" / "archives" / digest).exists()
    archive.write_bytes(b"text")
    assert brought(tmp_path, {"plays": PINNED}, files) == {"plays": "data/archives"}
    assert (tmp_path / "new" / "archives" / digest).read_bytes() == b"text"


def test_an_archive_comes_from_dvcs_cache_by_the_versions_own_lock(tmp_path):
    digest = PINNED["pin"]["sha256"]
    files = held_version(tmp_path, {"data/archives/p-1.tar.gz": digest})
    part, cache = hashlib.md5(b"text").hexdigest(), tmp_path / "dvc" / "files" / "md5"
    listing = json.dumps([{"md5": part, "relpath": "p-1.tar.gz"}]).encode()
    md5 = hashlib.md5(listing).hexdigest()
    for name, data in ((part, b"text"), (f"{md5}.dir", listing)):
        (cache / name[:2]).mkdir(parents=True, exist_ok=True)
        (cache / name[:2] / name[2:]).write_bytes(data)
    outs = [{"path": "data/archives", "md5": f"{md5}.dir"}]
    lock = {"stages": {"download": {"cmd": "x", "outs": outs}}}
    (tmp_path / "artifacts" / "dvc.lock").write_text(json.dumps(lock))
    assert brought(tmp_path, {"plays": PINNED}, files) == {"plays": "DVC's cache"}
    assert (tmp_path / "new" / "archives" / digest).read_bytes() == b"text"


def test_a_local_folder_is_unpacked_from_its_archive_or_said_to_be_gone(tmp_path):
    folder = tmp_path / "data" / "local" / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a.txt").write_text("dear reader")
    tar = pack_folder(folder, [folder / "deep" / "a.txt"])
    files = held_version(tmp_path, {"data/archives/mine.tar": hashlib.sha256(tar).hexdigest()})
    assert brought(tmp_path, {"mine": LOCAL}, files) == {"mine": "data/local/mine"}
    copy = tmp_path / "tree" / "data" / "local" / "mine" / "deep" / "a.txt"
    assert copy.read_text() == "dear reader"
    (folder / "deep" / "a.txt").write_text("edited")
    with pytest.raises(RegistryError, match=r"sources\.mine: the files .* no longer in"):
        brought(tmp_path, {"mine": LOCAL}, files)


def figures(path, **bits):
    path.write_text(json.dumps({"loss": 3.0, "val": {"bits_per_byte": bits}}))
    return path


def test_on_another_machine_figures_may_move_by_the_tolerance_and_no_more(tmp_path):
    before = figures(tmp_path / "before", plays=2.0)
    near = figures(tmp_path / "near", plays=2.0 + TOLERANCE / 2)
    far = figures(tmp_path / "far", plays=2.0 + TOLERANCE * 1.5)
    name = "results/evaluate.json"
    assert judge_figures(name, name, before, near).outcome is Outcome.TOLERATED
    verdict = judge_figures(name, name, before, far)
    assert verdict.outcome is Outcome.DIFFERENT
    assert "val.bits_per_byte.plays: 2.0000 became 2.0300" in verdict.detail


def test_another_machine_is_told_by_its_fingerprint(monkeypatch):
    monkeypatch.setenv("MINIGPT_THREADS", "1")
    assert other_machine({"threads": 3, "unknown to us": 1}) == {"threads": "3 there, 1 here"}
    assert other_machine({}) == {}


def test_packages_that_are_no_longer_those_of_the_lock_files_are_named(tmp_path):
    (tmp_path / "requirements").mkdir()
    lock = tmp_path / "requirements" / "base.txt"
    lock.write_text(f"pytest=={pytest.__version__} \\\n    --hash=sha256:00\nnever-heard-of==1\n")
    assert other_packages(tmp_path) == []
    lock.write_text("pytest==0.1 ; python_version < '9'\n")
    assert other_packages(tmp_path) == [
        "the environment has changed since that commit's lock files: "
        f"pytest 0.1 then, {pytest.__version__} now"
    ]


def test_a_failed_stage_is_told_in_its_own_words_and_a_crash_with_its_traceback():
    said = []
    progress = Progress(said.append)
    for line in ("Running stage 'download':", "download: sources.plays: HTTP 404", "ERROR: failed"):
        progress.read(line)
    assert progress.failure() == "sources.plays: HTTP 404"
    for line in ("Running stage 'pretrain':", "Traceback (most recent call last):", "KeyError: 1"):
        progress.read(line)
    assert progress.failure().splitlines()[-1].strip() == "KeyError: 1"
    assert [line for line in said if "ran" in line] == [
        "  download         ran      0:00  sources.plays: HTTP 404"
    ]


def test_a_source_that_has_vanished_from_its_index_is_said_with_the_other_places():
    error = RegistryError("the rebuild failed at download: sources.plays: HTTP 404")
    assert "plays is in none of: the cache" in str(explained(error, {"plays": FETCHED}))
    assert explained(error, {"plays": "data/archives"}) is error
