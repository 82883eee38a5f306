"""The gate on real models: worse, better, leaked; what a person types and what comes back."""

import json

import pytest

pytestmark = pytest.mark.prove


def rebuild(project, change):
    """Change params.yaml, build, register; the new version's number and its manifest's digest."""
    project.set_params(change)
    project.repro()
    return json.loads(project.minigpt("registry", "sync", "--json").stdout)["version"]


def promote(project, number, *more):
    return project.minigpt("registry", "promote", number, *more, check=False)


def champion(project):
    [version] = [
        version["version"]
        for version in json.loads(project.minigpt("registry", "list", "--json").stdout)
        if "champion" in version["aliases"]
    ]
    return version


def test_worse_is_refused_better_promoted_leaked_refused_and_all_of_it_logged(registered):
    worse = rebuild(registered, lambda p: p["finetune"]["duration"].update(max_steps=20))
    refused = promote(registered, worse)
    assert refused.returncode == 3
    lines = refused.stderr.splitlines()
    assert lines[0] == f"refused: version {worse} does not replace champion (version 1)"
    assert lines[1].startswith("  speeches           ")
    assert " bits per byte: worse by 0." in lines[1]
    assert lines[1].endswith("); allowed: 0.00")
    assert f"minigpt compare 1 {worse}" in lines[-1]
    assert champion(registered) == "1"

    compared = json.loads(registered.minigpt("compare", "1", worse, "--json").stdout)
    figures = {(f["source"], f["package"]): f for f in compared["figures"]}
    assert len(figures) == 8
    tuned = figures["speeches", "finetuned"]
    assert tuned["difference"]["low"] > 0
    assert tuned["second"] == pytest.approx(
        registered.results("evaluate")["finetuned"]["speeches"]["bits_per_byte"], rel=1e-5
    )
    # One base model: nothing differs, whoever is asked.
    assert figures["speeches", "base"]["difference"]["point"] == 0
    assert figures["speeches", "int8"]["difference"]["low"] > 0
    assert {sample["prompt"] for sample in compared["samples"]} == {
        "My fellow citizens",
        "ROMEO.\n",
    }

    better = rebuild(registered, lambda p: p["finetune"]["duration"].update(max_steps=90))
    promoted = promote(registered, better)
    assert promoted.returncode == 0, promoted.stderr
    assert "better by 0." in promoted.stderr
    assert champion(registered) == better
    registered.minigpt("registry", "rollback")
    assert champion(registered) == "1"

    def learn_the_test(params):
        params["sources"]["plays"]["splits"].update(test=["macbeth"])

    leaked = rebuild(registered, learn_the_test)
    refused = promote(registered, leaked)
    assert refused.returncode == 3
    assert (
        "evaluation set     it was trained on 1 of the 4 documents: plays/tempest.txt"
        in refused.stderr
    )
    assert champion(registered) == "1"

    log = json.loads(registered.minigpt("registry", "log", "--json").stdout)
    assert [(event["kind"], event["version"]) for event in log] == [
        ("promoted", "1"),
        ("refused", worse),
        ("promoted", better),
        ("rolled back", "1"),
        ("refused", leaked),
    ]


def test_a_challenger_that_holds_out_other_works_is_run_on_the_champions(registered):
    def hold_out_less(params):
        params["sources"]["plays"]["splits"].update(val=["othello", "tempest"], test=["macbeth"])

    other = rebuild(registered, hold_out_less)
    done = promote(registered, other)
    # It kept out of training what the champion is judged on, so it can be judged on it too.
    assert f"running finetuned of version {other} on " in done.stderr
    compared = json.loads(registered.minigpt("compare", "1", other, "--json").stdout)
    assert compared["leaked"] == []
    assert {figure["source"] for figure in compared["figures"]} == {"plays", "speeches"}
