import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt.errors import MiniGPTError, ParamsError
from minigpt.git import require_git
from pipelines.dag import Stage, anything_stale, in_order, read_stages

ROOT = Path(__file__).resolve().parents[2]


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
    with pytest.raises(ParamsError, match=r"no stage 'gamma' .* zeta, beta, alpha"):
        read_stages(project, until="gamma")


def test_ties_keep_the_order_of_the_file():
    stages = [stage("d", "b", "c"), stage("c", "a"), stage("b", "a"), stage("a")]
    assert [s.name for s in in_order({s.name: s for s in stages})] == ["a", "c", "b", "d"]


def test_a_torn_lock_file_is_named_with_its_remedy(project):
    (project / "dvc.lock").write_text("schema: '2.0'\nstages:\n  zeta:\n    cmd: pyth\n    de")
    with pytest.raises(ParamsError, match=r"dvc\.lock.*git checkout dvc\.lock"):
        read_stages(project)


def test_a_dvc_yaml_that_is_none_is_named_with_the_line_and_its_remedy(project):
    with (project / "dvc.yaml").open("a") as file:
        file.write("\nstages: {}\n")
    with pytest.raises(ParamsError, match=r"duplicate key .*line \d+.*git checkout dvc\.yaml"):
        read_stages(project)


def test_a_project_never_built_is_stale(project):
    assert anything_stale(project)


def test_what_until_does_not_need_is_not_asked_about(project):
    subprocess.run([sys.executable, "-m", "dvc", "repro", "-q", "beta"], cwd=project, check=True)
    assert anything_stale(project)
    assert not anything_stale(project, until="beta")
    with pytest.raises(ParamsError, match="no stage 'gamma'"):
        anything_stale(project, until="gamma")


def test_a_folder_without_git_is_refused(project, tmp_path):
    assert len(require_git(project)) == 40
    with pytest.raises(ParamsError, match=r"not a git checkout.*git init"):
        require_git(tmp_path)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (KeyError("getpwuid(): uid not found: 12345"), "DVC cannot work here: KeyError: .*12345"),
        (PermissionError(13, "Permission denied", "data/x"), r"^data/x: Permission denied"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "no"), r"b'a\\xff': the name of a file"),
    ],
)
def test_whatever_comes_out_of_dvc_is_one_message(project, monkeypatch, raised, said):
    def broken(*_):
        raise raised

    monkeypatch.setattr("dvc.stage.Stage.changed", broken)
    with pytest.raises(MiniGPTError, match=said):
        anything_stale(project)


@pytest.mark.skipif(sys.platform != "linux", reason="makes a user namespace")
def test_a_user_without_a_name_builds(project):
    """As in a container that is started with a number for a user."""
    names = ("USER", "LOGNAME", "LNAME", "USERNAME")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    unnamed = ["unshare", "--user", "--map-user=12345"]
    if subprocess.run([*unnamed, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    code = "from pathlib import Path; from pipelines.dag import *; from minigpt.process import *"
    code += "; print(anything_stale(Path()), run_dvc(['repro', '-q', 'zeta'], Path()))"
    done = subprocess.run(
        [*unnamed, sys.executable, "-c", code], cwd=project, capture_output=True, text=True,
        env=environment | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "True 0\n", done.stderr
