import subprocess
import sys

import pytest

from minigpt.errors import ParamsError
from pipelines.dag import Stage, anything_stale, in_order, read_stages, require_git


def stage(name, *needs):
    return Stage(name, needs, 0, (), ())


def test_stages_come_in_the_order_they_need(project):
    stages = read_stages(project)
    assert [s.name for s in stages] == ["zeta", "beta", "alpha"]
    assert (stages[0].needs, stages[0].retries, stages[0].outs) == ((), 0, ("zeta.txt",))
    assert (stages[1].needs, stages[1].retries) == (("zeta",), 1)
    assert "step.py" in stages[1].deps


def test_until_takes_what_a_stage_needs_and_no_more(project):
    assert [s.name for s in read_stages(project, until="beta")] == ["zeta", "beta"]
    with pytest.raises(ParamsError, match=r"no stage gamma .* zeta, beta, alpha"):
        read_stages(project, until="gamma")


def test_ties_keep_the_order_of_the_file():
    stages = [stage("d", "b", "c"), stage("c", "a"), stage("b", "a"), stage("a")]
    assert [s.name for s in in_order({s.name: s for s in stages})] == ["a", "c", "b", "d"]


def test_a_torn_lock_file_is_named_with_its_remedy(project):
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  zeta:\n    cmd: pyth\n    de")
    with pytest.raises(ParamsError, match=r"dvc\.lock.*git checkout dvc\.lock"):
        read_stages(project)


def test_a_project_never_built_is_stale(project):
    assert anything_stale(project)


def test_what_until_does_not_need_is_not_asked_about(project):
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "beta"], cwd=project, check=True)
    assert anything_stale(project)
    assert not anything_stale(project, until="beta")
    with pytest.raises(ParamsError, match="no stage gamma"):
        anything_stale(project, until="gamma")


def test_a_folder_without_git_is_refused(project, tmp_path):
    assert len(require_git(project)) == 40
    with pytest.raises(ParamsError, match=r"not a git checkout.*git init"):
        require_git(tmp_path)
