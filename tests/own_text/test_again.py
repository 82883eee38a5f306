"""The same command once more: what a preset wrote itself is no edit of a person's."""

import pytest

from minigpt.cli import look
from minigpt.errors import ParamsError
from minigpt.params import PARAMS
from tests.letters import letter, letters_in


@pytest.fixture(autouse=True)
def here(root, monkeypatch):
    monkeypatch.setattr(look, "project_root", lambda: root)


def test_a_preset_replaces_what_a_preset_wrote_without_a_commit(root, letters, tmp_path):
    look.preset("tiny")
    look.preset("shakespeare")
    look.preset("local", str(letters))
    (letters / "new.txt").write_text(letter(77))
    look.preset("local", str(letters))
    assert (root / "data" / "local" / "letters" / "new.txt").is_file()
    (tmp_path / "b").mkdir()
    other = letters_in(tmp_path / "b")
    look.preset("local", str(other))
    assert not (root / "data" / "local" / "letters" / "new.txt").exists()
    look.preset("tiny")


def test_an_edit_of_the_persons_own_stays_whatever_came_before(root):
    look.preset("tiny")
    written = (root / PARAMS).read_text()
    (root / PARAMS).write_text(written.replace("seed: 1337", "seed: 7"))
    with pytest.raises(ParamsError, match="edits that git does not hold"):
        look.preset("shakespeare")
    (root / PARAMS).write_text(written)
    look.preset("shakespeare")


def test_tidying_up_does_not_turn_a_preset_into_an_edit(root, monkeypatch):
    look.preset("tiny")
    monkeypatch.setattr(look, "require_project", lambda: root)
    look.clean(yes=True)
    look.preset("shakespeare")


@pytest.mark.parametrize("options", [{"path": "x"}, {"link": True}, {"base": "own"}])
def test_options_of_the_preset_local_belong_to_it(options):
    with pytest.raises(ParamsError, match=r"--(path|link|base) belongs to preset local"):
        look.preset("tiny", **options)
