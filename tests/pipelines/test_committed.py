"""A build whose bytes are not the committed ones says so, and why."""

import json
import subprocess

import pytest
import yaml

from minigpt.machine import Machine
from pipelines.committed import note


def lock(code="c1", out="o1"):
    stage = {
        "cmd": "python -m stages.pretrain",
        "deps": [{"path": "stages/pretrain.py", "md5": code}],
        "params": {"params.yaml": {"seed": 0}},
        "outs": [{"path": "models/base", "md5": out}],
    }
    return yaml.safe_dump({"schema": "2.0", "stages": {"pretrain": stage}})


def git(root, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=root, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A lock that was made on a machine with 64 threads and is otherwise this one."""
    (tmp_path / "results").mkdir()
    machine = Machine.load().fingerprint() | {"threads": 64}
    (tmp_path / "results" / "pretrain.json").write_text(json.dumps({"machine": machine}))
    (tmp_path / "dvc.lock").write_text(lock())
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "start")
    return tmp_path


def test_the_same_bytes_need_no_note(checkout):
    assert note(checkout) is None


def test_other_inputs_need_no_note(checkout):
    (checkout / "dvc.lock").write_text(lock(code="c2", out="o2"))
    assert note(checkout) is None


def test_other_bytes_from_the_same_inputs_name_what_differs_in_the_machine(checkout):
    (checkout / "dvc.lock").write_text(lock(out="o2"))
    here = Machine.load().threads
    assert note(checkout) == (
        "pretrain: from the same inputs other bytes than in the committed dvc.lock, which was made "
        f"on another kind of machine: threads 64 there, {here} here"
    )


def test_other_bytes_on_the_same_machine_are_called_a_fault(checkout):
    machine = {"machine": Machine.load().fingerprint()}
    (checkout / "results" / "pretrain.json").write_text(json.dumps(machine))
    git(checkout, "commit", "-qam", "as made here")
    (checkout / "dvc.lock").write_text(lock(out="o2"))
    assert "That should not be: minigpt verify champion" in note(checkout)
    assert note(checkout, "2").endswith("That should not be: minigpt verify 2")


def test_a_first_build_has_nothing_to_be_compared_with(checkout):
    git(checkout, "rm", "-q", "--cached", "dvc.lock")
    git(checkout, "commit", "-qm", "no lock yet")
    (checkout / "dvc.lock").write_text(lock(out="o2"))
    assert note(checkout) is None
