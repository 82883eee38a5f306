import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.errors import BusyError, MiniGPTError
from minigpt.process import (
    is_alive,
    quiet_environment,
    remove_stale_rwlock,
    stage_lock,
    stage_shell,
    tied,
    workspace_lock,
)
from tests.patience import until

HOLD = """
import sys, time
from pathlib import Path
from minigpt.process import workspace_lock
with workspace_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def holder(root: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(root), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_and_the_holder_named(tmp_path):
    with holder(tmp_path, 60) as other:
        with pytest.raises(BusyError, match=rf"in use by .*pid {other.pid}, since 20"), \
                workspace_lock(tmp_path):  # fmt: skip
            pass
        other.kill()


def test_a_run_that_waits_gets_the_workspace_when_it_is_free(tmp_path):
    with holder(tmp_path, 0.5), workspace_lock(tmp_path, wait=True):
        pass


def test_a_holder_that_was_killed_holds_nothing(tmp_path):
    with holder(tmp_path, 60) as other:
        other.kill()
    with workspace_lock(tmp_path):
        pass


def test_a_lock_that_cannot_be_opened_is_named_with_its_cure(tmp_path):
    (tmp_path / ".work" / "workspace.lock").mkdir(parents=True)
    refused = r"workspace\.lock: cannot be locked: Is a directory\. Mend its permissions"
    with pytest.raises(MiniGPTError, match=refused), workspace_lock(tmp_path):
        pass
    (tmp_path / ".work" / "workspace.lock").rmdir()
    (tmp_path / ".work").rmdir()
    (tmp_path / ".work").touch()
    with pytest.raises(MiniGPTError, match="cannot be locked"), stage_lock("a", root=tmp_path):
        pass


@pytest.mark.parametrize(
    ("shell", "used"),
    [
        ("/bin/sh", "/bin/sh"),
        ("", "/bin/sh"),
        ("/no/such/bash", "/bin/sh"),
        ("/usr/sbin/nologin", "/bin/sh"),
    ],
)
def test_dvc_starts_stages_through_a_shell_that_is_one(shell, used, monkeypatch):
    monkeypatch.setenv("SHELL", shell)
    assert stage_shell() == used


def test_children_of_the_holder_pass_through(tmp_path):
    with workspace_lock(tmp_path):
        holder(tmp_path, 0).communicate()
        with workspace_lock(tmp_path):
            pass
    assert "MINIGPT_WORKSPACE_LOCK" not in os.environ


def test_a_lock_passed_on_does_not_open_another_workspace(tmp_path):
    with (
        workspace_lock(tmp_path / "mine"),
        holder(tmp_path / "other", 60) as other,
    ):
        with pytest.raises(BusyError), workspace_lock(tmp_path / "other"):
            pass
        other.kill()


def test_a_stage_is_built_by_one_process_at_a_time(tmp_path):
    with (
        stage_lock("pretrain", root=tmp_path),
        pytest.raises(BusyError, match=rf"pretrain is being built by .*pid {os.getpid()}"),
        stage_lock("pretrain", wait_s=0.1, root=tmp_path),
    ):
        pass


def rwlock(root: Path, text: str) -> Path:
    path = root / ".dvc" / "tmp" / "rwlock"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def entries(pid: int) -> str:
    info = {"pid": pid, "cmd": "dvc repro"}
    return json.dumps({"write": {"/a": info}, "read": {"/b": [info]}})


@pytest.mark.parametrize("text", ["", '{"write": {"/a', "[1]"])
def test_a_torn_rwlock_is_removed_and_said(tmp_path, capsys, text):
    path = rwlock(tmp_path, text)
    with workspace_lock(tmp_path):
        assert not path.exists()
    assert "torn" in capsys.readouterr().err


def test_entries_of_a_pid_that_now_belongs_to_another_are_removed(tmp_path, capsys):
    path = rwlock(tmp_path, entries(os.getppid()))
    remove_stale_rwlock(tmp_path)
    assert not path.exists()
    assert "killed" in capsys.readouterr().err


def test_entries_of_a_living_dvc_stay(tmp_path):
    command = [sys.executable, "-c", "import time; time.sleep(3600)", "dvc"]
    with subprocess.Popen(command) as living:
        path = rwlock(tmp_path, entries(living.pid))
        remove_stale_rwlock(tmp_path)
        assert path.exists()
        living.kill()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_zombie_is_not_alive():
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        until(lambda: not is_alive(child.pid))
        assert child.returncode is None  # not reaped: a zombie


def test_a_command_and_its_children_end_with_the_block(tmp_path):
    script = "import subprocess, sys; subprocess.run(['sleep', '3600'])"
    with tied([sys.executable, "-c", script], tmp_path) as lifeline:
        pass  # leaving the block waits for nothing that goes on
    with pytest.raises(ProcessLookupError):
        os.killpg(lifeline.pid, 0)


def test_the_quiet_environment_yields_to_the_users(monkeypatch):
    mine = {"OMP_WAIT_POLICY": "active"}
    monkeypatch.setattr(os, "environ", mine)
    quiet_environment()
    assert mine["OMP_WAIT_POLICY"] == "active"
    assert mine["DO_NOT_TRACK"] == "1"


def test_download_alone_may_ask_the_hub_under_a_flow_too(monkeypatch):
    flow: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", flow)
    quiet_environment()
    for stage, offline in (("download", None), ("evaluate", "1")):
        inherited = {**flow, "DVC_STAGE": stage}
        monkeypatch.setattr(os, "environ", inherited)
        quiet_environment()
        assert inherited.get("HF_HUB_OFFLINE") == offline


def test_what_waits_for_the_end_of_python_is_done_when_a_stage_leaves():
    code = (
        "import atexit, threading, time\n"
        "from minigpt.process import leave\n"
        "atexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('a thread'))).start()\n"
        "print('said')\n"
        "leave()\n"
        "print('never')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "said\na thread\nlast\n")
