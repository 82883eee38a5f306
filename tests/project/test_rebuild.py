"""Two clean builds give the same bytes, wherever they run; nothing is sent anywhere."""

import os
import subprocess
import sys

import pytest

LOOPBACK = (
    "import fcntl, os, socket, struct, sys\n"
    "s = socket.socket()\n"
    "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x1 | 0x40))  # SIOCSIFFLAGS: up, running\n"
    "os.execvp(sys.argv[1], sys.argv[1:])\n"
)
GUARD = (
    "import sys\n"
    "def refuse(event, args):\n"
    "    if event == 'socket.connect' and isinstance(args[1], tuple):\n"
    "        if not str(args[1][0]).startswith(('127.', '::1', 'localhost')):\n"
    "            raise OSError(f'the guard saw a connection to {args[1]}')\n"
    "sys.addaudithook(refuse)\n"
)


@pytest.fixture(scope="module")
def no_network(tmp_path_factory):
    """(command prefix, environment) under which nothing outside this machine can be reached."""
    tried = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    if tried.returncode == 0:
        return ("unshare", "-rn", sys.executable, "-c", LOOPBACK), {}
    folder = tmp_path_factory.mktemp("guard")
    (folder / "sitecustomize.py").write_text(GUARD)
    return (), {"MINIGPT_TEST_GUARD": str(folder)}


def test_a_plain_repro_elsewhere_with_no_network_leaves_the_same_lock(
    built, make_tiny, tmp_path, no_network
):
    prefix, guard = no_network
    other = make_tiny(tmp_path / "другая папка")
    place = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "4242"} | guard
    if guard:
        place["PYTHONPATH"] = os.pathsep.join([str(other.root), guard["MINIGPT_TEST_GUARD"]])
    old = os.umask(0o077)
    try:
        done = other.repro(env=place, prefix=prefix)
    finally:
        os.umask(old)
    (built.root.parent / "repro.log").write_text(done.stdout + done.stderr)
    assert (other.root / "dvc.lock").read_text() == (built.root / "dvc.lock").read_text()
    assert "minigpt registry sync" in done.stdout + done.stderr


def test_the_flow_runs_with_loopback_alone(project, no_network):
    prefix, guard = no_network
    lock = (project.root / "dvc.lock").read_bytes()
    done = project.flow(env=guard, prefix=prefix)
    assert "10 of 10 stages unchanged" in done.stdout + done.stderr
    assert (project.root / "dvc.lock").read_bytes() == lock


def test_the_tracker_changes_no_byte(built, make_tiny, tmp_path):
    other = make_tiny(tmp_path / "untracked")
    other.repro("evaluate", env={"MINIGPT_TRACKER": "none"})
    lock, whole = other.lock(), built.lock()
    assert lock == {name: whole[name] for name in lock}
    assert "evaluate" in lock
    assert not (other.root / "mlflow.db").exists()


def test_nothing_to_do_is_quick_and_changes_nothing(project):
    lock = (project.root / "dvc.lock").read_bytes()
    done = project.repro()
    assert done.stdout.count("didn't change, skipping") == 10
    assert (project.root / "dvc.lock").read_bytes() == lock


def test_push_then_clone_then_pull_trains_nothing_again(project, tmp_path):
    store = tmp_path / "store"
    project.run("dvc", "remote", "add", "-d", "store", str(store))
    project.run("dvc", "remote", "modify", "store", "verify", "true")
    project.commit("remote")
    project.run("dvc", "push", "-q", "--run-cache")
    project.run("git", "clone", "-q", str(project.root), str(tmp_path / "clone"))
    clone = type(project)(tmp_path / "clone")
    clone.run("dvc", "pull", "-q", "--run-cache")
    done = clone.repro()
    assert "Running stage" not in done.stdout
    assert clone.sha256("models/finetuned/model.safetensors") == project.sha256(
        "models/finetuned/model.safetensors"
    )
    synced = clone.minigpt("registry", "sync", "--json")
    assert '"alias": "challenger"' in synced.stdout
