"""Two clean builds give the same bytes, wherever they run; nothing is sent anywhere."""

import os


def test_a_plain_repro_elsewhere_with_no_network_leaves_the_same_lock(built, rebuilt):
    lock = (built.root / "dvc.lock").read_text()
    assert (rebuilt.project.root / "dvc.lock").read_text() == lock
    assert "minigpt registry sync" in rebuilt.said


def test_the_flow_runs_with_loopback_alone(project, no_network, tmp_path):
    prefix, guard = no_network
    (tmp_path / "sitecustomize.py").write_text(guard)
    path = os.pathsep.join([str(project.root), str(tmp_path)])
    lock = (project.root / "dvc.lock").read_bytes()
    done = project.flow(env={"PYTHONPATH": path}, prefix=prefix)
    assert "10 of 10 stages unchanged" in done.stdout + done.stderr
    assert (project.root / "dvc.lock").read_bytes() == lock


def test_the_tracker_changes_no_byte(built, make_tiny, tmp_path):
    other = make_tiny(tmp_path / "untracked")
    other.repro("pretrain", tracker="none")
    lock, whole = other.lock(), built.lock()
    assert lock == {name: whole[name] for name in lock}
    assert "pretrain" in lock
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
