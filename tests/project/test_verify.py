"""`minigpt verify` on a real project: what it proves, what it leaves alone, how it ends."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.patience import until

NAME = "minigpt-tiny"
MODEL = "models/finetuned/model.safetensors"
pytestmark = pytest.mark.prove


def verify(project, *arguments, **options):
    done = project.minigpt("verify", *arguments, "--json", check=False, **options)
    return done, json.loads(done.stdout) if done.stdout else {}


def files_of(project):
    """Every file with its bytes, but MLflow's own and what DVC keeps for itself."""
    left = {".git", ".work", "mlruns", "tmp", "__pycache__"}
    files = [p for p in project.root.rglob("*") if p.is_file() and not left & set(p.parts)]
    files = [p for p in files if not p.name.startswith("mlflow.db")]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def status(project):
    return project.run("git", "status", "--porcelain", "--ignored").stdout


def bad(report):
    return [f for f in report["files"] if f["outcome"] in ("DIFFERENT", "MISSING", "UNEXPECTED")]


def nothing_left(project):
    assert not (project.root / ".work" / "verify").exists()
    assert "verify" not in project.run("git", "worktree", "list").stdout
    assert not project.processes("dvc")


def test_a_version_is_rebuilt_after_params_and_code_moved_on(registered):
    for number in range(2):
        (registered.root / "stages" / "pretrain.py").write_text(f"raise SystemExit({number + 3})\n")
        registered.set_params(lambda p, n=number: p.update(seed=100 + n))
        registered.commit(f"moved on {number}")
    before, said = files_of(registered), status(registered)
    done, report = verify(registered, "champion")
    assert done.returncode == 0, done.stderr
    assert (report["verdict"], bad(report)) == ("identical", [])
    assert report["vouched"]["by"] == "git"
    assert {MODEL, "data/raw/documents.parquet", "plots/pretrain/train.csv"} <= {
        f["path"] for f in report["files"]
    }
    assert (files_of(registered), status(registered)) == (before, said)
    nothing_left(registered)


def test_a_dirty_version_of_local_text_is_rebuilt_from_patch_and_archives(registered, tmp_path):
    """An edited file, a new file, and a folder of text that git ignores and that is gone since."""
    root = registered.root
    shutil.copytree(root / "data" / "tiny" / "speeches", root / "data" / "local" / "mine")
    registered.set_params(
        lambda p: (
            p["sources"]["speeches"].update(path="data/local/mine"),
            p["finetune"]["duration"].update(max_steps=20),
        )
    )
    with (root / "minigpt" / "tokenizer" / "stats.py").open("a") as file:
        file.write("\nEDITED = True\n")
    (root / "minigpt" / "tokenizer" / "new.py").write_text('"""A new file."""\n')
    registered.repro()
    synced = json.loads(registered.minigpt("registry", "sync", "--json").stdout)
    assert (synced["version"], synced["dirty"]) == ("2", True)
    shutil.rmtree(root / "data" / "local" / "mine")
    shutil.rmtree(root / "data" / "archives")
    registered.run("dvc", "remote", "add", "-d", "--local", "store", "../store")
    registered.run("dvc", "push", "-q")
    shutil.rmtree(root / ".dvc" / "cache")
    registered.commit("moved on")
    before, said = files_of(registered), status(registered)
    done, _ = verify(registered, "2")
    assert done.returncode == 2  # the patch is code, and nothing vouches for it
    assert "minigpt verify 2 --trust-store" in done.stderr
    nothing_left(registered)
    done, report = verify(registered, "2", "--trust-store")
    assert done.returncode == 0, done.stderr
    assert (report["verdict"], bad(report)) == ("identical", [])
    assert report["vouched"]["by"] == "you"
    assert report["sources"] == {"speeches": "the DVC remote"}
    assert (files_of(registered), status(registered)) == (before, said)
    assert not (root / ".dvc" / "cache").exists()
    shutil.rmtree(tmp_path / "store")
    done, _ = verify(registered, "2", "--trust-store")
    assert done.returncode == 1
    assert "sources.speeches: the files that minigpt-tiny 2 was made from are no longer" in (
        done.stderr
    )
    nothing_left(registered)


def test_from_cache_names_the_file_and_tensor_of_one_flipped_bit(registered):
    done, report = verify(registered, "champion", "--from-cache")
    assert (done.returncode, report["verdict"]) == (0, "identical")
    data = bytearray((registered.root / MODEL).read_bytes())
    name = hashlib.md5(data, usedforsecurity=False).hexdigest()
    path = registered.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    assert path.stat().st_mode & 0o222 == 0
    path.chmod(0o644)
    data[-1] ^= 1
    path.write_bytes(data)
    path.chmod(0o444)
    assert "up to date" in registered.run("dvc", "status").stdout  # DVC does not see it
    done, report = verify(registered, "champion", "--from-cache")
    assert done.returncode == 1
    [problem] = bad(report)
    assert problem["path"] == MODEL
    assert "first at " in problem["detail"]
    assert "weight[" in problem["detail"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_verification_that_is_stopped_leaves_nothing_for_long(registered, number):
    said, command = status(registered), [sys.executable, "-m", "minigpt.cli.main", "verify", "1"]
    started = subprocess.Popen(
        command, cwd=registered.root, env=registered.environment(), stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    )  # fmt: skip
    for line in started.stderr:
        if "validate" in line:
            break
    os.kill(started.pid, number)
    rest = started.stderr.read()
    code = started.wait()
    started.stderr.close()
    if number != signal.SIGKILL:
        assert rest.splitlines()[-1].endswith("nothing was proven, and nothing is left behind")
        assert "Traceback" not in rest
    assert code == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    until(lambda: registered_processes(registered) == [], seconds=10)
    if number == signal.SIGKILL:
        code = (
            "from pathlib import Path\n"
            "from minigpt.registry.verification.rebuild import clean_folder\n"
            "with clean_folder(Path()): pass"
        )
        registered.run(sys.executable, "-c", code)
    assert status(registered) == said
    nothing_left(registered)


def registered_processes(project):
    """What a verification started, wherever in its folder it works."""
    import psutil

    pids = []
    for process in psutil.process_iter(["cwd", "status"]):
        inside = str(process.info["cwd"] or "").startswith(str(project.root / ".work" / "verify"))
        if inside and process.info["status"] != psutil.STATUS_ZOMBIE:
            pids.append(process.pid)
    return pids


def test_on_another_kind_of_machine_figures_are_compared_and_the_tolerance_printed(registered):
    """One thread instead of those it was made with: sums in another order."""
    machine = registered.results("pretrain")["machine"]
    threads = 1 if machine["threads"] > 1 else 2
    env = {"MINIGPT_THREADS": str(threads)}
    done = registered.minigpt("verify", "1", env=env, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "within tolerance:" in done.stdout
    assert "tolerated: 0.02" in done.stdout
    assert f"threads {machine['threads']} there, {threads} here" in done.stdout
    assert "data/documents" in done.stdout
