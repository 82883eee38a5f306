"""A document is taken out of a built project, by the command that a person types."""

import json

import pytest

SPEECH = "data/tiny/speeches/1790-Washington-2.txt"
DOC_ID = "speeches/1790-Washington-2.txt"


def state_of(project):
    """What must stay where nothing is to be done."""
    files = {name: project.sha256(name) for name in ("params.yaml", "dvc.lock")}
    versions = json.loads(project.minigpt("registry", "list", "--json").stdout)
    return files, [(v["version"], v["aliases"]) for v in versions]


@pytest.mark.prove
def test_a_document_is_taken_out_proven_and_its_model_does_not_come_back(registered, tmp_path):
    before = state_of(registered)
    unseen = tmp_path / "unseen.txt"
    unseen.write_text("No model ever read this line.\n")
    done = registered.minigpt("takedown", str(unseen), "--reason", "asked", "--yes")
    assert "no version of minigpt-tiny ever saw" in done.stdout
    done = registered.minigpt(
        "takedown", "data/tiny/plays/hamlet.txt", "--reason", "asked", "--yes", check=False
    )
    assert done.returncode == 2
    assert 'fail "pretrain text is as large as params.yaml says"' in done.stderr
    dry = json.loads(registered.minigpt("takedown", SPEECH, "--dry-run", "--json").stdout)
    assert [v["version"] for v in dry["trained"]] == ["1"]
    assert state_of(registered) == before

    locked = registered.lock()
    done = registered.minigpt(
        "takedown",
        SPEECH,
        "--reason",
        "her family asked",
        "--yes",
        "--json",
        check=False,
    )
    assert done.returncode in (0, 3), done.stderr  # 3: the gate refused the new version
    stated = json.loads(done.stdout)
    [digest] = [document["sha256"] for document in stated["documents"]]

    now = registered.lock()
    for stage in ("download", "pretrain"):  # the text is fetched as before, and no play changed
        assert now[stage]["outs"] == locked[stage]["outs"]
        assert any(line.split()[:2] == [stage, "unchanged"] for line in done.stderr.splitlines()), (
            done.stderr
        )
    assert now["tokenize"]["outs"] != locked["tokenize"]["outs"]
    assert (stated["trained"][0]["version"], stated["now"]["version"]) == ("1", "2")
    assert stated["index"]["documents"] == stated["tokens"]["documents"] == 20
    loss = stated["loss"]
    # The model that learned the speech knows it better than the one that did not; of speeches that
    # neither learned from they know as much.
    assert loss["after"]["text"] > loss["before"]["text"] + 0.02
    assert abs(loss["after"]["never_seen"] - loss["before"]["never_seen"]) < 0.05

    said = registered.minigpt("lineage", "--data", digest).stdout
    assert "version 1" in said
    versions = json.loads(registered.minigpt("registry", "list", "--json").stdout)
    assert [bool(version["taken_down"]) for version in versions] == [True, False]
    if "champion" not in versions[1]["aliases"]:
        assert done.returncode == 3
        assert "registry promote 2 --force" in done.stderr
        registered.minigpt("registry", "promote", "2", "--force", "--reason", "takedown")
    back = registered.minigpt("registry", "rollback", check=False)
    assert (back.returncode, "her family asked" in back.stderr) == (3, True), back.stderr
    assert "taken down" in registered.minigpt("registry", "log").stdout
    assert "her family asked" in registered.minigpt("lineage", "1").stdout

    again = registered.minigpt("takedown", SPEECH, "--reason", "once more", "--yes", "--json")
    assert json.loads(again.stdout)["now"]["version"] == "2"
    assert registered.lock() == now
