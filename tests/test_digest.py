"""One digest for a file and for a folder."""

import hashlib
import os
import sqlite3

import pytest

from minigpt import digest as module
from minigpt.digest import MEMORY, digest, file_digest, files_of, remembered


def test_a_file_has_the_digest_of_its_bytes(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert digest(path) == hashlib.sha256(b"abc").hexdigest()


def test_a_folder_changes_with_names_and_contents_and_with_nothing_else(tmp_path):
    def folder(name, **files):
        for path, text in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(text)
        return digest(tmp_path / name)

    first = folder("one", a="1", b="2")
    assert folder("two", b="2", a="1") == first
    assert folder("three", a="1", c="2") != first
    assert folder("four", a="1", b="3") != first
    (tmp_path / "one" / "__pycache__").mkdir()
    (tmp_path / "one" / "__pycache__" / "a.pyc").write_text("x")
    assert digest(tmp_path / "one") == first


def test_files_are_sorted_by_their_posix_path(tmp_path):
    for name in ("b", "a/z", "a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    assert [p.relative_to(tmp_path).as_posix() for p in files_of(tmp_path)] == ["a.txt", "a/z", "b"]


def test_nothing_has_no_digest(tmp_path):
    with pytest.raises(FileNotFoundError):
        digest(tmp_path / "nothing")


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were really read."""
    names = []

    def spy(path):
        names.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(module, "file_digest", spy)
    return names


@pytest.fixture
def settled(monkeypatch):
    """As if every file had changed long ago; no program can set when an inode changed."""
    monkeypatch.setattr(module, "COARSEST_NS", -(10**18))


def folder_digest(root):
    with remembered(root) as of_file:
        return digest(root / "data", of_file)


@pytest.fixture
def root(tmp_path):
    for folder in ("data", MEMORY.parent):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / name).write_text(name)
    return tmp_path


def test_an_unchanged_file_is_read_once(root, read, settled):
    assert folder_digest(root) == folder_digest(root) == digest(root / "data", file_digest)
    assert read == ["a", "b"]


def test_a_changed_file_is_read_again_though_its_size_and_time_are_the_same(root, read, settled):
    before, path = folder_digest(root), root / "data" / "a"
    times = path.stat()
    path.write_text("c")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert folder_digest(root) == digest(root / "data", file_digest) != before
    assert read == ["a", "b", "a"]


def test_a_replaced_file_is_read_again(root, read, settled):
    folder_digest(root)
    (root / "new").write_text("b")
    (root / "new").replace(root / "data" / "a")
    assert folder_digest(root) == digest(root / "data", file_digest)
    assert read == ["a", "b", "a"]


def test_a_file_that_has_just_changed_is_not_remembered(root, read, monkeypatch):
    # Whatever is written to it within the same tick of the clock looks the same.
    now = max(module._looks(root / "data" / "a")[1], (root / "data" / "b").stat().st_ctime_ns)
    monkeypatch.setattr(module, "_looks", lambda path: (path.name, now))
    before = folder_digest(root)
    (root / "data" / "a").write_text("c")
    assert folder_digest(root) != before
    assert read == ["a", "b", "a", "b"]


def test_a_file_that_changes_while_it_is_read_is_not_remembered(root, settled, monkeypatch):
    def written_meanwhile(path):
        sha256 = file_digest(path)
        path.write_text("later")
        return sha256

    monkeypatch.setattr(module, "file_digest", written_meanwhile)
    folder_digest(root)
    monkeypatch.undo()
    assert folder_digest(root) == digest(root / "data", file_digest)


@pytest.mark.parametrize("damage", ["torn", "another table", "a folder", "nothing ran"])
def test_without_a_memory_every_file_is_read(root, read, damage):
    memory = root / MEMORY
    if damage == "torn":
        memory.write_text("no database at all" * 100)
    elif damage == "a folder":
        memory.mkdir()
    elif damage == "nothing ran":
        memory.parent.rmdir()
    else:
        with sqlite3.connect(memory) as connection:
            connection.execute("create table files (other)")
    for _ in range(2):
        assert folder_digest(root) == digest(root / "data", file_digest)
    assert read == ["a", "b"] * 2
