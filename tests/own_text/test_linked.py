"""`--link`, and a path written by hand: a folder outside is read where it is, and followed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from minigpt.cli import look
from minigpt.data.archives import pack_folder
from minigpt.data.links import bring_files, follow
from minigpt.data.sources.local import LocalSource
from minigpt.digest import file_digest
from minigpt.errors import DataError, ParamsError
from minigpt.own_text.plan import plan_own_text
from minigpt.params import Params, load_params
from minigpt.registry.verification.materials import unpack
from tests.letters import letter, tree

NOTE = Path("data/local/.links/letters.json")
LOCAL = Path("data/local")


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    """Commands are typed in the project, and no home folder is above it."""
    monkeypatch.chdir(root)
    monkeypatch.setenv("HOME", "/home/nobody")
    monkeypatch.setattr(look, "project_root", lambda: root)
    return root


def source(path):
    return LocalSource(role="finetune", licence="private", path=str(path))


def fetched(path, target=Path("out.tar"), said=None):
    """What download makes of a source called letters."""
    run = SimpleNamespace(say=(said if said is not None else []).append)
    source(path).fetch("letters", target, LOCAL, run)
    return target.read_bytes()


def test_nothing_is_copied_and_params_name_the_folder(root, letters, capsys):
    look.preset("local", str(letters), link=True)
    assert load_params(Params).sources["letters"].path == str(letters)
    assert [path.name for path in (root / LOCAL).iterdir()] == [".links"]
    assert str(letters) not in (root / NOTE).read_text()
    assert f"nothing was copied: each run reads {letters} as it is then" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("home", "typed", "named"),
    [("{tmp}", "{tmp}/letters", "~/letters"), ("/", "{tmp}/letters", "{tmp}/letters"),
     ("{tmp}", "../letters", "../letters")],
)  # fmt: skip
def test_the_folder_is_named_as_others_would_have_it(
    root, letters, tmp_path, monkeypatch, home, typed, named
):
    monkeypatch.setenv("HOME", home.format(tmp=tmp_path))
    own = plan_own_text(root, Path(typed.format(tmp=tmp_path)), link=True)
    place = own.params.sources["letters"]
    assert place.path == named.format(tmp=tmp_path)
    assert place.folder(root).resolve() == letters.resolve()


def test_linked_or_copied_the_archive_has_the_same_bytes(root, letters):
    look.preset("local", str(letters), link=True)
    linked = fetched(letters)
    look.preset("local", str(letters))
    assert not (root / NOTE).parent.exists()
    assert fetched("data/local/letters") == linked


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_each_change_outside_is_seen_by_the_next_command(root, letters, change):
    sources = {"letters": source(letters)}
    follow(root, sources)
    before, times = (root / NOTE).read_bytes(), (root / NOTE).stat().st_mtime_ns
    follow(root, sources)
    assert (root / NOTE).stat().st_mtime_ns == times
    if change == "edit":
        (letters / "00.txt").write_text(letter(90))
    elif change == "add":
        (letters / "new.md").write_text(letter(91))
    elif change == "remove":
        (letters / "00.txt").unlink()
    else:
        (letters / "00.txt").rename(letters / "zz.txt")
    with pytest.raises(DataError, match=r"changed since it was last looked into.*Run: make run"):
        fetched(letters)  # else DVC's run cache would hold this as the result of the note's folder
    follow(root, sources)
    assert (root / NOTE).read_bytes() != before
    fetched(letters)


def test_a_path_written_by_hand_is_followed_like_a_link(root, letters):
    with pytest.raises(DataError, match=r"is new here.*minigpt plan, then dvc repro"):
        fetched(letters)
    follow(root, {"letters": source(letters)})
    fetched(letters)


@pytest.mark.parametrize("path", ["somewhere", "data/other", "data/local/../../x"])
def test_a_path_by_hand_elsewhere_in_the_project_is_still_refused(root, path):
    (root / "somewhere").mkdir()
    with pytest.raises(DataError, match=r"outside data/local.*Run: minigpt preset local --path"):
        fetched(path)


@pytest.mark.parametrize("path", ["..", "/", ".", "data"])
def test_a_path_by_hand_that_holds_the_project_is_refused(root, path):
    (root / LOCAL).mkdir(parents=True)
    with pytest.raises(DataError, match=r"holds this project|is outside data/local"):
        fetched(path)


def test_a_link_in_data_local_is_followed_too(root, letters):
    """DVC does not look through it: an edit behind it would stay unseen."""
    (root / LOCAL).mkdir(parents=True)
    (root / LOCAL / "letters").symlink_to(letters)
    with pytest.raises(DataError, match="is new here"):
        fetched("data/local/letters")
    follow(root, {"letters": source("data/local/letters")})
    before = (root / NOTE).read_bytes()
    (letters / "00.txt").write_text(letter(90))
    follow(root, {"letters": source("data/local/letters")})
    assert (root / NOTE).read_bytes() != before
    fetched("data/local/letters")


def test_a_folder_that_is_gone_is_said_and_its_note_stays(root, letters):
    follow(root, {"letters": source(letters)})
    note = (root / NOTE).read_bytes()
    shutil.move(letters, letters.with_name("moved"))
    said = []
    follow(root, {"letters": source(letters)}, said.append)
    assert said == [
        f"sources.letters: {letters} is not there, or holds no text; what was read of it before "
        "stays. If it was moved, say where (params.yaml: sources.letters.path)"
    ]
    assert (root / NOTE).read_bytes() == note
    with pytest.raises(DataError, match=r"not a folder\. If it moved, say where"):
        fetched(letters)


def test_it_is_said_that_a_folder_has_changed_since_it_was_copied(root, letters, capsys):
    look.preset("local", str(letters), base="tiny")
    sources = load_params(Params).sources
    said = []
    follow(root, sources, said.append)
    assert said == []
    (letters / "00.txt").write_text(letter(90))
    (letters / "new.txt").write_text(letter(91))
    follow(root, sources, said.append)
    assert said == [
        f"sources.letters: {letters} has changed since it was copied (2 files differ); to take it: "
        f"minigpt preset local --path {letters} --base tiny"
    ]
    shutil.rmtree(letters)  # a copy needs no folder any more
    follow(root, sources, said.append)
    assert len(said) == 1


def test_another_preset_takes_the_note_away(root, letters):
    look.preset("local", str(letters), link=True)
    look.preset("tiny")
    assert not (root / NOTE).parent.exists()


def test_a_copy_of_before_goes_but_not_what_a_person_put_there(root, letters):
    look.preset("local", str(letters))
    (root / LOCAL / "letters" / "mine.txt").write_text("By hand.\n")
    with pytest.raises(DataError, match=r"mine\.txt: put there"):
        look.preset("local", str(letters), link=True)
    (root / LOCAL / "letters" / "mine.txt").unlink()
    look.preset("local", str(letters), link=True)
    assert [path.name for path in (root / LOCAL).iterdir()] == [".links"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [("notes", "leave out --link"), ("", "leave out --link"), ("..", "the project itself")],
)
def test_what_lies_in_the_project_or_holds_it_is_no_link(root, letters, folder, message):
    (root / "notes").mkdir()
    (root / "notes" / "a.txt").write_text(letter(1))
    with pytest.raises(ParamsError, match=message):
        plan_own_text(root, root / folder, link=True)
    (letters / "round").symlink_to(root)
    with pytest.raises(ParamsError, match=r"letters/round holds .*the project itself"):
        plan_own_text(root, letters, link=True)


def test_in_data_local_itself_a_link_is_the_folder(root, letters):
    shutil.copytree(letters, root / LOCAL / "mine")
    look.preset("local", "data/local/mine", link=True)
    assert load_params(Params).sources["mine"].path == "data/local/mine"
    assert not (root / LOCAL / ".links").exists()


def test_an_unreadable_file_is_refused_where_download_would_read_it(root, letters, monkeypatch):
    real = Path.open

    def guarded(path, *args, **options):
        if path.name == "03.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *args, **options)

    monkeypatch.setattr(Path, "open", guarded)
    with pytest.raises(DataError, match=r"03\.txt: chmod u\+r"):
        plan_own_text(root, letters, link=True)


def test_a_rebuild_reads_what_its_archive_held_though_the_folder_is_gone(
    root, letters, tmp_path, monkeypatch
):
    follow(root, {"letters": source(letters)})
    archive = fetched(letters)
    shutil.rmtree(letters)
    tree_of_version = tmp_path / "rebuild"
    unpack(root / "out.tar", tree_of_version / source(letters).rebuilt_in("letters"))
    monkeypatch.chdir(tree_of_version)
    assert fetched(letters) == archive


def test_a_clone_has_the_texts_that_a_relative_path_leads_nowhere_from(root, letters):
    clone = root / ".work" / "sweep" / "clone"
    sources = {"letters": source("../letters"), "other": source(letters)}
    bring_files(root, clone, sources)
    assert list(tree(clone)) == [f"data/local/.links/letters/{n:02}.txt" for n in range(20)]


def test_an_experiment_elsewhere_is_told_of_the_sweep(letters, tmp_path, monkeypatch):
    place = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmp1"
    place.mkdir(parents=True)
    monkeypatch.chdir(place)
    with pytest.raises(DataError, match=r"knows no folder outside of it\. .*pipelines\.sweep"):
        fetched(letters, tmp_path / "out.tar")


def test_the_note_is_of_the_texts_only(root, letters):
    (letters / "a.docx").write_text("no text of the source")
    follow(root, {"letters": source(letters)})
    note = json.loads((root / NOTE).read_text())
    assert note == {f"{n:02}.txt": file_digest(letters / f"{n:02}.txt") for n in range(20)}
    names = [letters / name for name in note]
    (root / "packed.tar").write_bytes(pack_folder(letters, names))
    assert fetched(letters) == (root / "packed.tar").read_bytes()


def test_an_empty_place_is_a_disk_that_is_not_plugged_in(root, letters):
    follow(root, {"letters": source(letters)})
    note = (root / NOTE).read_bytes()
    for file in letters.iterdir():
        file.unlink()
    said = []
    follow(root, {"letters": source(letters)}, said.append)
    assert "is not there, or holds no text; what was read of it before stays" in said[0]
    assert (root / NOTE).read_bytes() == note
