import os
import subprocess

import pytest

from minigpt.process import run_dvc
from pipelines.dag import anything_stale
from pipelines.lockfile import KEPT, TORN, is_whole, keep_lock
from pipelines.runner import Outcome, run_stage


class Silent:
    def started(self, stage):
        """Nobody looks."""

    def said(self, stage, text):
        """Nobody listens."""


@pytest.fixture
def built(project):
    assert run_dvc(["repro", "-q", "zeta"], project, print) == 0
    keep_lock(project)
    assert run_dvc(["repro", "-q", "beta"], project, print) == 0
    return project


@pytest.mark.parametrize("share", [0, 0.5, 0.95])
def test_a_lock_that_was_cut_is_put_back_and_what_it_lacks_is_restored(built, share, capsys):
    path = built / "dvc.lock"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    if is_whole(path.read_bytes()):
        pytest.skip("cut at a lucky byte")
    keep_lock(built)
    assert "put back dvc.lock, which a killed DVC had half written" in capsys.readouterr().err
    assert path.read_bytes() == (built / KEPT).read_bytes()
    assert (built / TORN).read_bytes() == whole[: int(share * len(whole))]
    assert anything_stale(built)
    assert run_stage("zeta", built, Silent()).outcome is Outcome.UNCHANGED
    assert run_stage("beta", built, Silent()).outcome is Outcome.RESTORED
    assert path.read_bytes() == whole


def test_without_a_copy_the_committed_lock_is_put_back(built):
    path = built / "dvc.lock"
    subprocess.run(["git", "add", "dvc.lock"], cwd=built, check=True)
    who = {**os.environ, "GIT_AUTHOR_NAME": "t", "GIT_COMMITTER_NAME": "t", "EMAIL": "t@localhost"}
    subprocess.run(["git", "commit", "-qm", "lock"], cwd=built, check=True, env=who)
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    (built / KEPT).unlink()
    keep_lock(built)
    assert path.read_bytes() == whole


def test_a_merge_that_git_could_not_finish_stays_the_users(built):
    path = built / "dvc.lock"
    path.write_bytes(conflict := b"<<<<<<< ours\n" + path.read_bytes())
    keep_lock(built)
    assert path.read_bytes() == conflict
