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
    """The tiny build without its fine-tuning (the base stays); version 1 is champion."""
    project = make_copy(built, tmp_path_factory.mktemp("plays") / "copy")
    project.set_params(without_fine_tuning)
    said = project.repro()
    (project.root / "repro.log").write_text(said.stdout + said.stderr)
    project.commit("without fine-tuning")
    project.minigpt("registry", "sync")
    project.minigpt("registry", "promote", "challenger")
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
    assert set(plays.results("evaluate")) == {"base", "baselines", "test"}
    assert set(plays.results("tokens")) == {"pretrain"}
    plays.minigpt("report")
    page = (plays.root / "reports/index.html").read_text()
    card = plays.minigpt("registry", "list", "--json").stdout
    lineage = plays.minigpt("lineage", "champion").stdout
    figure = plays.results("evaluate")["base"]["plays"]["bits_per_byte"]
    assert json.loads(card)[-1]["bits_per_byte"] == pytest.approx(figure)
    assert f"judged    {figure:.2f}" in lineage
    assert f"{figure:.2f}" in page
    for text in (page, lineage):
        assert "fine-tun" not in text
        assert "speeches" not in text


def test_the_model_writes_and_its_text_can_be_traced(plays):
    written = plays.minigpt("generate", "ROMEO.", "--max-tokens", "5", "--json").stdout
    assert json.loads(written)["tokens"] > 0
    traced = plays.minigpt("lineage", "--data", "data/tiny/plays/hamlet.txt").stdout
    assert traced.startswith("used in training: version 1")
    plan = json.loads(plays.minigpt("plan", "--json").stdout)
    assert set(plan["stages"]) == {"pretrain"}


def test_a_second_version_is_held_against_the_first_on_what_both_were_trained_for(plays):
    plays.set_params(lambda values: values["quantize"].update(int4_group_size=16))
    plays.repro()
    plays.commit("finer groups")
    plays.minigpt("registry", "sync")
    compared = json.loads(plays.minigpt("compare", "1", "2", "--json").stdout)
    packages = [(f["source"], f["package"]) for f in compared["figures"]]
    assert packages == [("plays", "base"), ("plays", "int8"), ("plays", "int4")]
    done = json.loads(plays.minigpt("registry", "promote", "2", "--json").stdout)
    assert done["before"] == "1"
    first = done["conditions"][0]
    assert (first["about"], first["holds"]) == ("plays", True)
    assert first["found"].endswith(" bits per byte: the same")


@pytest.mark.prove
def test_a_worse_base_is_refused_a_better_one_promoted_and_both_can_be_rebuilt(
    built, make_copy, tmp_path
):
    project = make_copy(built, tmp_path / "copy")
    project.set_params(without_fine_tuning)
    project.commit("without fine-tuning")
    first = project.flow().stdout
    assert "  model     " in first
    assert "minigpt-plays 1 · champion (the first of its name" in first
    assert "fine-tuning: the base is the model" in first
    project.commit("built")
    project.set_params(lambda values: values["pretrain"]["duration"].update(max_steps=60))
    refused = project.flow().stdout
    assert "refused: version 2 does not replace champion (version 1)\n  plays  " in refused
    assert "; allowed: 0.00\n" in refused
    project.set_params(lambda values: values["pretrain"]["duration"].update(max_steps=220))
    assert "champion (in place of version 1; plays " in project.flow().stdout
    project.commit("better")
    assert "identical: " in project.minigpt("verify", "champion").stdout
