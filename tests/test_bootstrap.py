"""Set-up refuses what cannot work before it makes anything, and needs no home."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bootstrap


@pytest.mark.parametrize("name", ["a{b}", "of $user", "new\nline", "1:2", "50 % co"])
def test_a_path_in_which_no_venv_works_is_refused_before_one_is_made(
    name, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path / name)
    monkeypatch.setattr(bootstrap, "set_up", lambda **_: pytest.fail("set up"))
    assert bootstrap.main(["setup"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(str(tmp_path / name))
    assert said.endswith("Rename the folder.\n")


@pytest.mark.parametrize("name", ["sp ace", "é", "it's", 'a "b"', "a[b]#c", "100 $", "-dash"])
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


@pytest.mark.parametrize(
    ("made_in", "python", "said"),
    [
        ("old", "", "set-up     the folder was moved or copied: .venv is made anew …"),
        ("here", "3.11 of before", "set-up     making .venv …"),
        ("here", "", None),
    ],
)
def test_a_venv_of_another_place_is_named_before_it_is_made_anew(
    made_in, python, said, tmp_path, monkeypatch, capsys
):
    here, venv, seen = tmp_path / "here", tmp_path / "here" / ".venv", []
    venv.mkdir(parents=True)
    (tmp_path / "old").mkdir()
    for root in (here, tmp_path / "old"):
        shutil.copy2(bootstrap.ROOT / "pyproject.toml", root)
    for name, value in (("VENV", venv), ("PYTHON", venv / "python"), ("Installer", FakeInstaller)):
        monkeypatch.setattr(bootstrap, name, value)
    monkeypatch.setattr(bootstrap, "install_torch", lambda _: "torch")
    monkeypatch.setattr(bootstrap.subprocess, "run", lambda words, **_: seen.append(words[-1]))
    removing = lambda *_, **__: seen.append(capsys.readouterr().out)  # noqa: E731
    monkeypatch.setattr(bootstrap.shutil, "rmtree", removing)
    with monkeypatch.context() as then:
        then.setattr(bootstrap, "ROOT", tmp_path / made_in)
        then.setattr(sys, "version", python or sys.version)
        stamps = [bootstrap.stamp(group) for group in ("place", "base")]
    monkeypatch.setattr(bootstrap, "ROOT", here)
    (venv / "python").touch()
    (venv / "minigpt-stamp").write_text("\n".join(stamps))
    command = f"command = /usr/bin/python3 -m venv {tmp_path / made_in / '.venv'}\n"
    (venv / "pyvenv.cfg").write_text(f"home = /usr/bin\n{command}")
    bootstrap.set_up(dev=False, quiet=True)
    assert seen == ([f"{said}\n", str(venv)] if said else [])


class FakeInstaller:
    """Installs nothing."""

    name = "fake"

    def install(self, arguments):
        """As bootstrap.Installer.install."""


BEFORE = "import sys; sys.path.insert(0, sys.argv[1]); import bootstrap; "
CHILD = "import signal, sys, time; signal.signal(signal.{}, lambda *_: {}); print('up', flush=True)"
SLOW = "(time.sleep(1), sys.exit(7))"


def started(call, child):
    """A process that calls bootstrap so, once what it starts is up."""
    code = f"{BEFORE} sys.exit(bootstrap.{call}([sys.executable, '-c', sys.argv[2]]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(bootstrap.__file__).parent), child],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline() == "up\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="no signal reaches another process there")
@pytest.mark.parametrize("call", ["call", "become"])
def test_ctrl_c_is_answered_by_what_runs_in_its_own_time(call):
    process = started(call, f"{CHILD.format('SIGINT', SLOW)}; time.sleep(600)")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait() == 7


@pytest.mark.skipif(os.name == "nt", reason="no signal reaches another process there")
def test_a_signal_to_make_run_is_one_to_the_flow():
    process = started("become", f"{CHILD.format('SIGTERM', SLOW)}; time.sleep(600)")
    process.terminate()
    assert process.wait() == 7
