"""What made a version is known elsewhere, later, and where little of it had to run."""

import json
import shutil

import pytest

from tests.conftest import Project

pytestmark = pytest.mark.prove


def lineage(project, *arguments):
    return json.loads(project.minigpt("lineage", *arguments, "--json").stdout)


def outcomes(project, version):
    return {s["name"]: s for s in lineage(project, version)["record"]["stages"]}


def without_runs(record):
    of_a_store = ("run", "outcome", "version", "environment")
    stages = [{k: v for k, v in s.items() if k not in of_a_store} for s in record["stages"]]
    return record | {"stages": stages}


def test_pushed_and_pulled_nothing_runs_and_an_empty_store_gets_the_same_version(
    built, project, tmp_path
):
    project.run("dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"))
    project.commit("a remote")
    project.run("dvc", "push")
    project.run("git", "clone", "-q", str(project.root), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert not (clone.root / "models").exists()
    clone.run("dvc", "pull")
    said = clone.repro().stdout
    assert said.count("didn't change, skipping") == 10
    assert "Running stage" not in said
    assert clone.run("git", "status", "--porcelain").stdout == ""
    clone.minigpt("registry", "sync")
    before, after = lineage(built, "1"), lineage(clone, "1")
    assert after["digest"] == before["digest"]
    packages = {stage["environment"]["packages"] for stage in before["record"]["stages"]}
    assert len(packages) == 1  # the whole build ran with what is installed here
    expected = without_runs(before["record"]) | {"commit": after["commit"]}
    assert without_runs(after["record"]) == expected
    assert {(s["outcome"], s["run"]) for s in after["record"]["stages"]} == {("restored", None)}


def test_what_the_flow_did_not_have_to_run_names_the_run_and_the_version_it_was_made_for(
    built, tmp_path
):
    copy = Project(tmp_path / "copy")
    shutil.copytree(built.root, copy.root, symlinks=True)  # with its store: moved, then
    refused = copy.minigpt("lineage", "1", check=False)
    assert refused.returncode == 1
    assert "minigpt registry relocate" in refused.stderr
    copy.minigpt("registry", "relocate")
    first = outcomes(copy, "1")
    assert first == outcomes(built, "1")
    assert {s["outcome"] for s in first.values()} == {"ran"}

    group = copy.params()["quantize"]["int4_group_size"]
    copy.set_params(lambda values: values["quantize"].update(int4_group_size=group // 2))
    copy.flow()
    second = outcomes(copy, "2")
    restored = {name for name, s in second.items() if s["outcome"] == "restored"}
    assert second.keys() - restored == {"quantize", "manifest"}
    for name in restored:
        assert (second[name]["run"], second[name]["version"]) == (
            first[name]["run"],
            "minigpt-tiny 1",
        )

    copy.set_params(lambda values: values["quantize"].update(int4_group_size=group))
    shutil.rmtree(copy.root / "models")
    copy.flow()  # back to what version 1 is made of, out of DVC's cache: no new version
    assert lineage(copy, "challenger")["version"] == "1"
    screen = copy.minigpt("lineage", "2").stdout
    assert "from cache (run of version 1) · quantize ran · export from cache" in " ".join(
        screen.split()
    )
    speech = next((copy.root / "data" / "tiny" / "speeches").glob("*.txt"))
    asked = copy.minigpt("lineage", "--data", str(speech)).stdout
    assert "versions 1, 2" in asked
