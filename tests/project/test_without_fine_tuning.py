"""A project whose base is its model: built, judged, registered, compared, and called that."""

import json

import pytest

from minigpt.digest import digest


def without_fine_tuning(values):
    del values["sources"]["speeches"]
    values["finetune"] = None
    values["evaluate"]["samples"]["prompts"] = ["ROMEO.\n"]
    values["release"]["name"] = "minigpt-plays"


@pytest.fixture(scope="module")
def plays(built, make_copy, tmp_path_factory):
    """The tiny build without its fine-tuning, as far as evaluate: the base stays."""
    project = make_copy(built, tmp_path_factory.mktemp("plays") / "copy")
    project.set_params(without_fine_tuning)
    for later in ("quantize", "export"):
        (project.root / "results" / f"{later}.json").unlink()
    said = project.repro("evaluate")
    (project.root / "repro.log").write_text(said.stdout + said.stderr)
    return project


def test_the_base_is_the_model_file_for_file(plays, built):
    said = (plays.root / "repro.log").read_text()
    assert "no fine-tuning: the base is the model" in said
    assert "Stage 'pretrain' didn't change, skipping" in said
    assert digest(plays.root / "models/finetuned") == digest(built.root / "models/base")
    assert plays.results("finetune") == {"steps": 0, "tokens": 0}
    assert plays.results("validate")["expectations"]["stated"] == 13
    plays.run("dvc", "plots", "show", "-q")
    plays.run("dvc", "plots", "diff", "-q", "HEAD")


def test_no_figure_of_a_fine_tuned_model_is_stored_or_shown(plays):
    evaluation = plays.results("evaluate")
    assert set(evaluation) == {"base", "baselines", "test"}
    assert set(plays.results("tokens")) == {"pretrain"}
    plays.minigpt("report")
    page = (plays.root / "reports/index.html").read_text()
    assert f"{evaluation['base']['plays']['bits_per_byte']:.2f}" in page
    assert "fine-tun" not in page
    assert "speeches" not in page


@pytest.mark.prove
def test_a_base_becomes_champion_and_is_replaced_only_by_a_better_one(built, make_copy, tmp_path):
    project = make_copy(built, tmp_path / "copy")
    project.set_params(without_fine_tuning)
    project.commit("without fine-tuning")
    first = project.flow().stdout
    assert "fine-tuning: the base is the model" in first
    assert "\n  model     " in first
    assert "minigpt-plays 1 · champion (the first of its name" in first
    assert project.repro().stdout.count("didn't change, skipping") == 10
    project.commit("built")
    figure = project.results("evaluate")["base"]["plays"]["bits_per_byte"]
    lineage = project.minigpt("lineage", "champion").stdout
    assert f"judged    {figure:.2f}" in lineage
    assert "speeches" not in lineage
    listed = json.loads(project.minigpt("registry", "list", "--json").stdout)
    assert listed[-1]["bits_per_byte"] == pytest.approx(figure)
    written = project.minigpt("generate", "ROMEO.", "--max-tokens", "5", "--json").stdout
    assert json.loads(written)["tokens"] > 0
    traced = project.minigpt("lineage", "--data", "data/tiny/plays/hamlet.txt").stdout
    assert traced.startswith("used in training: version 1")

    project.set_params(lambda values: values["pretrain"]["duration"].update(max_steps=60))
    refused = project.flow().stdout
    assert "refused: version 2 does not replace champion (version 1)\n  plays  " in refused
    assert "; allowed: 0.00\n" in refused
    compared = json.loads(project.minigpt("compare", "1", "2", "--json").stdout)
    packages = [(f["source"], f["package"]) for f in compared["figures"]]
    assert packages == [("plays", "base"), ("plays", "int8"), ("plays", "int4")]

    project.set_params(lambda values: values["pretrain"]["duration"].update(max_steps=220))
    project.commit("longer")
    assert "champion (in place of version 1; plays " in project.flow().stdout
    assert "identical: " in project.minigpt("verify", "champion").stdout
