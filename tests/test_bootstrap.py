"""Set-up refuses what cannot work before it makes anything, and needs no home."""

from pathlib import Path

import pytest

import bootstrap


@pytest.mark.parametrize("name", ["a{b}", "of $user", "new\nline", "1:2"])
def test_a_path_in_which_no_venv_works_is_refused_before_one_is_made(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / name)
    monkeypatch.setattr(bootstrap, "set_up", lambda **_: pytest.fail("set up"))
    assert bootstrap.main(["setup"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(str(tmp_path / name))
    assert said.endswith("Rename the folder.\n")


@pytest.mark.parametrize("name", ["sp ace", "é", "it's", 'a "b"', "a[b]#c", "100 % $", "-dash"])
def test_other_paths_are_not(name):
    assert not bootstrap.UNUSABLE.search(str(Path("/home") / name))


def test_caches_lie_in_the_project_where_the_home_cannot_be_written(tmp_path, monkeypatch):
    for name in ("XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert bootstrap.cache_settings() == {}
    (tmp_path / ".cache").touch()  # in the way: root may write everywhere else
    caches = {name: Path(path) for name, path in bootstrap.cache_settings().items()}
    assert sorted(caches) == ["PIP_CACHE_DIR", "UV_CACHE_DIR"]
    assert all(path.is_relative_to(bootstrap.ROOT / ".cache") for path in caches.values())
    monkeypatch.setenv("UV_CACHE_DIR", "/elsewhere")
    assert list(bootstrap.cache_settings()) == ["PIP_CACHE_DIR"]
