"""What the environment holds for other libraries does not end what is local."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOCKS = "socks5://127.0.0.1:9"


def python(code, **environment):
    inherited = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "http_proxy"])
def test_a_socks_proxy_harms_no_server_of_ours_and_reaches_the_stages(name, tmp_path):
    code = (
        "import pipelines, httpx, minigpt.process as p\n"
        "httpx.Client()\n"
        "def tied(command, cwd, env, **_):\n"
        f"    print(env.get({name!r}))\n"
        "    raise SystemExit\n"
        "p.tied = tied\n"
        "p.run_dvc(['version'], p.Path())"
    )
    done = python(code, **{name: SOCKS})
    assert done.stdout == f"{SOCKS}\n", done.stderr


@pytest.mark.parametrize("program", ["minigpt.cli.main", "pipelines", "stages"])
def test_no_proxy_is_asked_for_a_server_of_this_machine(program):
    code = (
        f"import {program}, urllib.request\n"
        "from minigpt.process import quiet_environment; quiet_environment()\n"
        "print([urllib.request.proxy_bypass(h) for h in ('127.0.0.1', 'localhost', 'example.org')])"
    )
    done = python(code, HTTP_PROXY="http://proxy.example.org:3128", NO_PROXY="inside.example.org")
    assert done.stdout in ("[True, True, False]\n", "[1, 1, 0]\n"), done.stderr


@pytest.fixture
def stage(tmp_path):
    """A checkout with a .venv whose python says what it was given, and a stage in it."""
    for name in ("minigpt", "stages"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "stages" / "sample.py").write_text("print('this python')")
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.write_text("#!/bin/sh\necho own python: $*\n")
    own.chmod(0o755)

    def run(**environment):
        active = ("VIRTUAL_ENV", "CONDA_PREFIX")
        inherited = {k: v for k, v in os.environ.items() if k not in active}
        done = subprocess.run(
            [sys.executable, "-m", "stages.sample", "a b", "c"], cwd=tmp_path, text=True,
            env={**inherited, **environment}, capture_output=True,
        )  # fmt: skip
        return done.stdout + done.stderr

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="its python is a script")
def test_a_stage_runs_in_the_projects_environment_whatever_python_is_first(stage):
    assert stage() == "own python: -m stages.sample a b c\n"


@pytest.mark.skipif(sys.platform == "win32", reason="its python is a script")
def test_an_environment_that_was_activated_stays(stage):
    assert stage(VIRTUAL_ENV=sys.prefix) == "this python\n"
    assert stage(CONDA_PREFIX=sys.prefix) == "this python\n"


def test_what_make_starts_keeps_its_bytecode():
    code = (
        "import sys, bootstrap\n"
        "ask = 'import sys; sys.exit(3 if sys.dont_write_bytecode else 0)'\n"
        "sys.exit(bootstrap.call([sys.executable, '-c', ask]))\n"
    )
    done = python(code, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr
