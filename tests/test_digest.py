"""One digest for a file and for a folder."""

import hashlib

import pytest

from minigpt.digest import digest, files_of


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
