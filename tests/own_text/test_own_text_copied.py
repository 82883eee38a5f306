"""`minigpt preset local` copies to data/local: whole or not at all, and over nobody's own files."""

import errno
import os
import shutil

import pytest

from minigpt.cli import look
from minigpt.errors import DataError, ParamsError
from minigpt.own_text import copy
from minigpt.own_text.plan import plan_own_text
from tests.letters import letter, letters_in, read, tree


@pytest.mark.parametrize("around", ["", "data", "data/local"])
def test_a_folder_that_holds_its_own_copy_is_refused(root, around):
    (root / "data" / "local").mkdir(parents=True)
    (root / around / "notes.txt").write_text(letter(1))
    with pytest.raises(ParamsError, match=r"holds .*data/local.*Give the folder that holds your"):
        plan_own_text(root, root / around)
    assert [path.name for path in root.rglob("*.txt")] == ["notes.txt"]


def test_a_link_to_the_place_of_the_copy_is_refused(root, letters):
    plan_own_text(root, letters).copy()
    (letters / "again").symlink_to(root / "data" / "local" / "letters")
    with pytest.raises(ParamsError, match=r"letters/again holds .*data/local/letters"):
        plan_own_text(root, letters)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_stands_in_the_place_of_the_copy_is_not_lost(root, letters, tmp_path, kind):
    place, elsewhere = root / "data" / "local" / "letters", tmp_path / "elsewhere"
    elsewhere.mkdir()
    place.parent.mkdir(parents=True)
    place.write_text("By hand.") if kind == "file" else place.symlink_to(elsewhere)
    with pytest.raises(DataError, match=f"data/local/letters is a {kind} that was put there"):
        plan_own_text(root, letters)
    own = plan_own_text(root, letters, force=True)
    own.copy()
    assert list(tree(place)) == read(own)
    assert sorted(p.name for p in place.parent.iterdir()) == [".letters.json", "letters"]
    assert elsewhere.is_dir()


def test_a_copy_that_finds_no_room_leaves_nothing_of_itself(root, letters, monkeypatch):
    plan_own_text(root, letters).copy()
    before = tree(root / "data")

    def full(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(copy.shutil, "copyfile", full)
    with pytest.raises(DataError, match="No space left on device"):
        plan_own_text(root, letters).copy()
    assert tree(root / "data") == before


def test_a_text_that_goes_while_it_is_copied_is_named(root, letters):
    own = plan_own_text(root, letters)
    (letters / "10.txt").unlink()
    with pytest.raises(DataError, match=r"10\.txt: No such file.* Run the same command again"):
        own.copy()
    assert list((root / "data" / "local").iterdir()) == []


def test_a_text_deleted_at_home_is_no_longer_a_source(root, letters, capsys):
    plan_own_text(root, letters).copy()
    (letters / "03.txt").unlink()
    own = plan_own_text(root, letters)
    own.copy()
    assert "03.txt" not in tree(own.target)
    assert "does not hold: 1 file\n" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "why"), [("mine.txt", "put there"), ("03.txt", "changed there")])
def test_what_the_person_did_in_data_local_is_not_lost(root, letters, name, why):
    own = plan_own_text(root, letters)
    own.copy()
    (own.target / name).write_text("By hand.\n")
    before = tree(root)
    with pytest.raises(DataError, match=rf"holds 1 file that .* does not: {name}: {why}"):
        plan_own_text(root, letters)
    assert tree(root) == before
    plan_own_text(root, letters, force=True).copy()
    assert list(tree(own.target)) == read(own)


@pytest.mark.parametrize("kind", ["folder", "file", "nowhere"])
def test_a_link_that_was_put_into_data_local_is_not_lost(root, letters, tmp_path, kind):
    own = plan_own_text(root, letters)
    own.copy()
    places = {"folder": tmp_path, "file": letters / "00.txt", "nowhere": tmp_path / "nowhere"}
    (own.target / "mine").symlink_to(places[kind])
    with pytest.raises(DataError, match=r"does not: mine: put there"):
        plan_own_text(root, letters)


@pytest.mark.parametrize("link", [False, True])
def test_force_names_what_it_drops(root, letters, capsys, link):
    own = plan_own_text(root, letters)
    own.copy()
    (own.target / "mine.txt").write_text("By hand.\n")
    (own.target / "03.txt").write_text("By hand.\n")
    plan_own_text(root, letters, force=True, link=link).copy()
    said = capsys.readouterr().err
    named = "03.txt: changed there; mine.txt: put there"
    assert f"--force dropped from data/local/letters: {named}\n" in said


def test_killed_while_it_copies_it_leaves_what_was_there(root, letters, monkeypatch):
    own = plan_own_text(root, letters)
    own.copy()
    before = tree(own.target)
    (letters / "00.txt").write_text(letter(77))

    real = shutil.copyfile

    def killed(source, target):
        if source.name == "10.txt":
            raise KeyboardInterrupt
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(copy.shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            plan_own_text(root, letters).copy()
    assert tree(own.target) == before
    plan_own_text(root, letters).copy()
    assert tree(own.target)["00.txt"] == letter(77).encode()
    assert sorted(p.name for p in own.target.parent.iterdir()) == [".letters.json", "letters"]


def test_edits_of_params_are_refused_before_data_local_is_touched(root, letters, monkeypatch):
    (root / "params.yaml").write_text("# mine\n")
    monkeypatch.setattr(look, "project_root", lambda: root)
    with pytest.raises(ParamsError, match="edits that git does not hold"):
        look.preset("local", str(letters))
    assert not (root / "data").exists()
    look.preset("local", str(letters), force=True)
    assert (root / "data" / "local" / "letters" / "00.txt").is_file()


def test_another_folder_of_the_same_name_is_told_whose_copy_it_replaces(root, letters, capsys):
    plan_own_text(root, letters).copy()
    (letters.parent / "other").mkdir()
    other = letters_in(letters.parent / "other")
    (other / "00.txt").unlink()
    plan_own_text(root, other).copy()
    said = capsys.readouterr().err
    assert f"removed from data/local/letters what {other} does not hold: 1 file\n" in said
    assert f"data/local/letters was a copy of {letters} until now. If that is another text" in said
    other.rename(other.with_name("moved"))
    capsys.readouterr()
    plan_own_text(root, letters).copy()
    assert "until now" not in capsys.readouterr().err
