"""Sweeps: what is compared, what is refused, and that the workspace stays as it is."""

import re
import subprocess
from pathlib import Path

import pytest

from minigpt.errors import ParamsError
from minigpt.params import Params
from minigpt.presets import write_params
from pipelines.clone import throwaway
from pipelines.sweep import (
    BASE_FIGURE,
    FIGURE,
    Trial,
    check_figure,
    combinations,
    figure_of,
    table,
)

ROOT = Path(__file__).resolve().parents[2]


def test_every_combination_is_tried_once_under_a_name_of_its_own():
    trials = combinations(ROOT, ["finetune.lr=0.002,4e-3", "seed=1,2"])
    assert [str(trial) for trial in trials] == [
        "finetune.lr=0.002 seed=1",
        "finetune.lr=0.002 seed=2",
        "finetune.lr=0.004 seed=1",
        "finetune.lr=0.004 seed=2",
    ]
    assert len({trial.name for trial in trials}) == 4
    again = combinations(ROOT, ["finetune.lr=0.002", "seed=1"])
    assert again[0].name == trials[0].name


def test_a_value_given_twice_is_tried_once():
    trials = combinations(ROOT, ["finetune.lr=0.002,2e-3,0.004"])
    assert [str(trial) for trial in trials] == ["finetune.lr=0.002", "finetune.lr=0.004"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("finetune.lr", "expected KEY=VALUE"),
        ("=1", "expected KEY=VALUE"),
        ("finetune.lr=", "expected KEY=VALUE"),
        ("finetune.lrr=1", "params.yaml has no finetune.lrr"),
        ("finetune=1", "finetune"),
        ("seed.x=1", "params.yaml has no seed.x"),
        ("finetune.lr=-1", "finetune.lr"),
    ],
)
def test_what_stages_would_refuse_is_refused_before_anything_runs(override, said):
    with pytest.raises(ParamsError, match=said):
        combinations(ROOT, [override])


def test_without_fine_tuning_its_figure_is_refused_and_the_other_is_named(project):
    plays = {"plays": Params().sources["shakespeare"]}
    write_params(project, Params(sources=plays, finetune=None), "test", force=True)
    with pytest.raises(ParamsError, match=f"nothing is fine-tuned .* --figure {BASE_FIGURE}"):
        check_figure(project, "beta", FIGURE)
    with pytest.raises(ParamsError, match="is not written up to beta"):
        check_figure(project, "beta", BASE_FIGURE)
    with pytest.raises(ParamsError, match=r"params.yaml has no finetune\.lr"):
        combinations(project, ["finetune.lr=0.1"])


def test_a_figure_is_read_from_a_metrics_file_or_is_not_there(tmp_path):
    (tmp_path / "m.json").write_text('{"a": {"b": 1.5}}')
    assert figure_of(tmp_path, "m.json:a.b") == 1.5
    for wrong in ("m.json:a", "m.json:a.c", "m.json:a.b.c", "n.json:a"):
        assert figure_of(tmp_path, wrong) is None


@pytest.mark.parametrize(
    ("until", "figure", "said"),
    [
        ("beta", "m.json:a", None),
        ("beta", "m.json:b", "m.json has no number 'b'"),
        ("beta", "m.json", "m.json has no number ''"),
        ("zeta", "m.json:a", "m.json is not written up to zeta"),
        ("betta", "m.json:a", "there is no stage 'betta' in dvc.yaml; did you mean beta?"),
    ],
)
def test_a_figure_that_no_trial_would_change_is_refused_before_anything_runs(
    until, figure, said, project
):
    """Else all trials are built first; or they are compared by what git held all along."""
    graph = (
        (project / "dvc.yaml")
        .read_text()
        .replace("outs: [beta.txt]", "outs: [beta.txt]\n    metrics: [m.json]")
    )
    (project / "dvc.yaml").write_text(graph)
    (project / "m.json").write_text('{"a": 1.5}')
    if said is None:
        check_figure(project, until, figure)
    else:
        with pytest.raises(ParamsError, match=re.escape(said)):
            check_figure(project, until, figure)


def test_the_best_comes_first_with_the_command_that_keeps_it():
    trials = [Trial("sweep-1", {"seed": 2}, 1.25), Trial("sweep-2", {"seed": 1}, said="broke")]
    said = "\n".join(table(trials, "m.json:x"))
    assert "best: seed=2 · 1.2500" in said
    assert "dvc exp apply sweep-1 && make run" in said
    assert "failed" in said


def test_experiments_run_beside_the_workspace_and_are_handed_back(project):
    (project / "release.txt").write_text("new")
    (project / "step.py").write_text((project / "step.py").read_text() + "# edited\n")
    before = state_of(project)
    with throwaway(project) as clone:
        assert (clone.root / "release.txt").read_text() == "new"
        said = []
        for name in ("good", "again"):
            assert clone.experiment(name, {"seed": 3}, "zeta", {}, said.append) is None
        ran = [line for line in said if line.startswith(("Running stage", "Stage 'zeta' "))]
        assert [line.split()[0] for line in ran] == ["Running", "Stage"], "nothing runs twice"
        assert "seed: 3" in (clone.root / "zeta.txt").read_text()
    assert state_of(project) == before
    assert not (project / ".work" / "sweep").exists()
    folders = [path.name for path in (project / ".dvc" / "cache" / "files" / "md5").iterdir()]
    assert {len(name) for name in folders} == {2}, "what it made is in the shared cache"
    refs = git(project, "for-each-ref", "--format=%(refname:lstrip=-1)", "refs/exps")
    assert sorted(refs.split()) == ["again", "good"]


@pytest.mark.parametrize("setting", ["diff.noprefix=true", "diff.context=0", "color.ui=always"])
def test_edits_come_along_whatever_the_user_likes_of_a_diff(setting, project):
    git(project, "config", *setting.split("="))
    # Two lines far apart: without context git would not apply it.
    (project / "step.py").write_text("# before\n" + (project / "step.py").read_text() + "# after\n")
    with throwaway(project) as clone:
        assert (clone.root / "step.py").read_bytes() == (project / "step.py").read_bytes()


def test_a_repository_within_the_workspace_stays_where_it_is(project):
    (project / "inner").mkdir()
    git(project / "inner", "init", "-q")
    (project / "inner" / "a.txt").write_text("a")
    (project / "new.txt").write_text("new")
    with throwaway(project) as clone:
        assert (clone.root / "new.txt").read_text() == "new"
        assert not (clone.root / "inner").exists()


def state_of(root):
    files = {
        path.relative_to(root): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not {".git", ".dvc", ".work"} & set(path.relative_to(root).parts)
    }
    return files, git(root, "status", "--porcelain"), git(root, "stash", "list")


def git(root, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
    ).stdout
