"""The same params give the same dvc.lock, whatever else lies in data/local."""

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from minigpt.cli import look
from minigpt.data.copies import LOCAL
from minigpt.data.links import follow
from minigpt.data.sources.local import LocalSource
from minigpt.data.unread import IGNORE, is_hidden
from minigpt.errors import DataError
from minigpt.params import Params, load_params
from minigpt.process import run_dvc

PIPELINE = {"s": {"cmd": "echo done > out", "deps": ["data/local"], "outs": ["out"]}}


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    monkeypatch.chdir(root)
    monkeypatch.setattr(look, "project_root", lambda: root)
    (root / LOCAL).mkdir(parents=True)
    (root / LOCAL / ".gitkeep").touch()


def own(name):
    path = f"{LOCAL.as_posix()}/{name}"
    return LocalSource(role="finetune", licence="private", path=path)


@pytest.fixture
def locked(root, monkeypatch, tmp_path):
    """A function: let DVC build, and give what it says of data/local."""
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": PIPELINE}))
    tree = Path(__file__).parents[2]
    shutil.copytree(tree / ".dvc", root / ".dvc", ignore=lambda *_: ["tmp", "cache"])
    shutil.copy(tree / ".dvcignore", root)

    def build():
        assert run_dvc(["repro"], root, lambda line: None) == 0
        [dep] = yaml.safe_load((root / "dvc.lock").read_text())["stages"]["s"]["deps"]
        return dep["md5"], dep["size"]

    return build


def test_back_from_the_preset_local_dvc_sees_what_a_fresh_clone_has(root, letters, locked):
    look.preset("tiny")
    before = locked()
    look.preset("local", str(letters))
    with_letters = locked()
    assert with_letters != before
    look.preset("tiny")
    assert locked() == before
    assert (root / LOCAL / "letters" / "00.txt").is_file()  # nobody's text goes
    look.preset("local", str(letters))
    assert locked() == with_letters
    assert not (root / LOCAL / IGNORE).exists()


@pytest.mark.parametrize("name", ["letters-2", "тексты", "1e3"])
def test_what_is_hidden_is_that_folder_and_no_other(root, locked, name):
    for folder in (name, "read", "read too", f"{name}x"):
        (root / LOCAL / folder).mkdir()
        (root / LOCAL / folder / name).mkdir()
        (root / LOCAL / folder / name / "a.txt").write_text(folder)
    sources = {str(n): own(path) for n, path in enumerate(["read", "read too", f"{name}x"])}
    follow(root, sources)
    both, hidden = locked(), is_hidden(root / LOCAL, root / LOCAL / name)
    assert not is_hidden(root / LOCAL, root / LOCAL / "read" / name)
    shutil.rmtree(root / LOCAL / name)
    follow(root, sources)
    assert (locked(), hidden) == (both, True)


@pytest.mark.parametrize("name", ["#chan", "!a", "a b ", "[x]", "a*", "a?", "b\\c", "a\nb"])
def test_a_name_that_a_pattern_would_read_otherwise_is_left_to_be_seen(root, name):
    (root / LOCAL / name).mkdir()
    follow(root, {})
    assert not (root / LOCAL / IGNORE).exists()


def test_a_folder_around_or_inside_of_what_is_read_is_not_hidden(root):
    for folder in ("a/b", "c", "d"):
        (root / LOCAL / folder).mkdir(parents=True)
    follow(root, {"x": own("a/b"), "y": own("c")})
    assert (root / LOCAL / IGNORE).read_text().splitlines()[1:] == ["/.dvcignore", "/d"]
    follow(root, {"all": LocalSource(role="finetune", licence="private", path=LOCAL.as_posix())})
    assert not (root / LOCAL / IGNORE).exists()


def test_what_a_person_tells_dvc_to_ignore_stays(root):
    (root / LOCAL / "a").mkdir()
    (root / LOCAL / IGNORE).write_bytes(b"*.bak\n\xff")
    follow(root, {})
    assert (root / LOCAL / IGNORE).read_bytes() == b"*.bak\n\xff"


def test_a_source_that_was_hidden_is_refused_until_a_command_of_ours_has_looked(root, letters):
    look.preset("local", str(letters))
    source = load_params(Params).sources["letters"]
    look.preset("tiny")
    run = SimpleNamespace(say=lambda line: None)
    with pytest.raises(DataError, match=r"sources\.letters\.path: .*minigpt plan, then dvc repro"):
        source.fetch("letters", root / "letters.tar", LOCAL, run)
    follow(root, {"letters": source})
    source.fetch("letters", root / "letters.tar", LOCAL, run)
