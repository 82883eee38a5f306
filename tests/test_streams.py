"""No program of ours ends because of what its streams are: a narrow pipe, a closed one, none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt import log
from minigpt.process import tied

ROOT = Path(__file__).resolve().parents[1]
NARROW = [
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]
WORDS = r"done \u2192 \u017c 100 % \xb7 \udcff"


def python(*arguments, **popen):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **popen.pop("env", {})}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, **popen)


@pytest.mark.parametrize("environment", NARROW)
@pytest.mark.parametrize(
    "program",
    [
        ("-c", f"import stages; from minigpt.log import say; say('{WORDS}')"),
        ("-c", f"import pipelines; print('{WORDS}')"),
        ("-m", "minigpt.cli.main", "--help"),
        ("bootstrap.py", "--help"),
    ],
)
def test_what_a_stream_has_no_word_for_is_replaced(environment, program):
    done = python(*program, env=environment)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("environment", NARROW)
def test_children_write_utf8_to_us(environment, monkeypatch, tmp_path):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", r"print('\u2192 \u017c\xb7')"]
    with tied(command, tmp_path, stdout=subprocess.PIPE) as child:
        assert child.stdout.read() == "→ ż·\n"


@pytest.mark.parametrize(
    "program",
    [
        "from minigpt.cli.main import main; import sys; sys.argv = ['minigpt', '--help']; main()",
        "import pipelines.terminal as t; sys.exit(t.ended(lambda: print('x' * 100_000) or 0, ''))",
        "import pipelines.terminal as t; sys.exit(t.ended(lambda: print('x') or 0, ''))",
        "import bootstrap; sys.exit(bootstrap.ended(['--help']))",
    ],
)
def test_a_reader_that_has_left_ends_a_program_quietly(program):
    read, write = os.pipe()
    os.close(read)
    code = f"import sys; {program}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 141


@pytest.mark.skipif(sys.platform == "win32", reason="closes streams as a POSIX shell does")
def test_streams_that_are_closed_are_opened_on_nothing(tmp_path):
    code = (
        "import pipelines, os, sys\n"
        f"number = os.open({str(tmp_path / 'file')!r}, os.O_CREAT | os.O_WRONLY)\n"
        "print('to nobody'); sys.stderr.write('to nobody')\n"
        "os.system('echo to nobody')\n"
        "sys.exit(number if number > 2 else 99)"
    )
    command = f'exec "{sys.executable}" -c "$CODE" <&- >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CODE": code}
    done = subprocess.run(["sh", "-c", command], env=environment)
    assert 2 < done.returncode < 99
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk to try")
@pytest.mark.parametrize(
    "program",
    [
        ("-m", "minigpt.cli.main", "--help"),
        (
            "-c",
            "import sys, pipelines.terminal as t; sys.exit(t.ended(lambda: print('x') or 0, ''))",
        ),
        ("bootstrap.py", "--help"),
    ],
)
def test_a_full_disk_under_stdout_is_one_line(program):
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, *program], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert "standard output" in done.stderr
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "program",
    [
        "import pipelines.terminal as t; sys.exit(t.ended(refused, ''))",
        "import minigpt.run as r; r.stage_main(refused)",
    ],
)
def test_a_file_that_the_system_refuses_is_one_line(program):
    code = (
        "import sys\n"
        "def refused(): raise PermissionError(13, 'Permission denied', 'dvc.lock')\n"
        f"{program}"
    )
    done = python("-c", code, text=True)
    assert done.returncode == 1
    assert "dvc.lock: Permission denied. Mend that, then run the same command" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
def test_a_current_folder_that_is_gone_is_one_line(tmp_path):
    code = (
        "import os, sys; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "sys.argv = ['minigpt', 'plan']; from minigpt.cli.main import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("the current folder is gone")


def test_what_is_said_holds_no_control_characters(capsys):
    log.say("a\x1b[2Jb\x9bc\rd\te\nf")
    assert capsys.readouterr().err.endswith(": a\\x1b[2Jb\\x9bc\\x0dd\te\nf\n")
