"""Every command that the README shows, or that a run prints at its end, works."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = [
    [line.split("  #")[0].strip() for line in block.strip().splitlines()]
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
]
FLOW = f"{sys.executable} -m pipelines.run"
INSTEAD = {
    "git clone <this repository> minigpt && cd minigpt": "true",  # the fixture's copy is one
    "make run": FLOW,  # what it runs after set-up, which .ci/run does on a fresh clone
    "make test": "true",  # that is what runs here
    "make lint": "true",  # .ci/run runs it
    "mlflow ui": "true",  # make up runs it, with no settings
    "make up": "true",  # test_schedule.py runs it and looks at every page
    "make down": "true",  # so it does this
    "python -m pipelines.sweep finetune.lr=0.01,0.02": "true",  # and this
    "source .venv/bin/activate": "true",  # Project.environment does so
}


def block_with(command):
    [block] = [block for block in BLOCKS if command in block]
    return block


def run_block(project, commands, **environment):
    for command in commands:
        project.run("bash", "-c", INSTEAD.get(command, command), env=environment)


def test_the_commands_of_use(registered):
    run_block(registered, block_with("minigpt report"))
    assert (registered.root / "reports" / "index.html").is_file()


def test_the_commands_of_use_in_another_folder(registered, tmp_path):
    export, load = block_with('export MLFLOW_TRACKING_URI="sqlite:///$PWD/mlflow.db"')
    load = load.replace("models:/minigpt@", "models:/minigpt-tiny@")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = registered.run("bash", "-c", f"{export}\ncd '{elsewhere}'\n{load}")
    assert done.stdout.strip()
    assert not list(elsewhere.iterdir())


def test_the_commands_of_proof(registered):
    run_block(registered, block_with("minigpt lineage champion"))


def test_the_commands_of_promotion(registered):
    run_block(registered, block_with("minigpt registry log"))


def test_the_commands_of_change(project):
    run_block(project, block_with("dvc metrics diff"))
    page = (project.root / "dvc_plots" / "index.html").read_text()
    assert "<script src" not in page


def test_the_commands_by_hand_and_of_sharing(project):
    run_block(project, block_with("dvc repro"))
    assert "champion" in project.minigpt("registry", "list").stdout
    run_block(project, block_with("dvc push --run-cache"))


def test_the_commands_of_work(project):
    run_block(project, block_with("minigpt doctor"))


@pytest.fixture
def letters(project, tmp_path):
    """A built tiny project to which the README's own-text commands were given a folder.

    Its base model stays tiny's: the preset's sizes and Shakespeare are put back to tiny's.
    """
    home = tmp_path / "home"
    (home / "letters").mkdir(parents=True)
    speeches = sorted((ROOT / "data" / "tiny" / "speeches").glob("*.txt"))
    (home / "letters" / "one.txt").write_text(speeches[0].read_text())
    (home / "letters" / "notes.md").write_text(speeches[1].read_text())
    records = "".join(json.dumps({"text": path.read_text()}) + "\n" for path in speeches[2:5])
    (home / "letters" / "more.jsonl").write_text(records)
    tiny = project.params()
    run_block(project, block_with("minigpt preset local --path ~/letters")[:1], HOME=str(home))
    local = project.params()
    assert set(local["sources"]) == {"shakespeare", "letters"}
    assert local["release"]["name"] == "minigpt-letters"

    def on_tiny(values):
        for name in (
            "tokenizer",
            "model",
            "pretrain",
            "finetune",
            "evaluate",
            "quantize",
            "export",
        ):
            values[name] = tiny[name]
        values["sources"] = {
            "plays": tiny["sources"]["plays"],
            "letters": local["sources"]["letters"],
        }

    project.set_params(on_tiny)
    return project


def test_own_text_is_fine_tuned_on_with_the_base_model_as_it_was(letters):
    base = letters.sha256("models/base/model.safetensors")
    said = letters.repro("finetune").stdout
    assert "Running stage 'finetune'" in said
    assert "Running stage 'pretrain'" not in said
    assert letters.sha256("models/base/model.safetensors") == base


@pytest.mark.prove
def test_own_text_becomes_a_registered_model(letters):
    letters.flow()
    listed = letters.minigpt("registry", "list").stdout
    assert re.search(r"minigpt-letters 1 +challenger, champion", listed), listed


def test_the_commands_that_a_run_prints_at_its_end(built):
    printed = (built.root.parent / "flow.log").read_text().split("Next\n")[1]
    commands = [line.strip().split("  ")[0] for line in printed.splitlines() if line.strip()]
    assert [re.search(r"(generate|lineage|make up)", command)[0] for command in commands] == [
        "generate",
        "lineage",
        "make up",
    ]
    for command in commands:
        built.run("bash", "-c", INSTEAD.get(command, command))


def test_every_command_of_the_readme_belongs_to_a_test_here():
    tested = ["minigpt report", "dvc exp show", "dvc repro", "dvc push --run-cache"]
    tested += ['export MLFLOW_TRACKING_URI="sqlite:///$PWD/mlflow.db"']
    tested += ["minigpt lineage champion", "minigpt registry log"]
    tested += ["minigpt doctor", "minigpt preset local --path ~/letters"]
    covered = [block_with(command) for command in tested]
    left = [block for block in BLOCKS if block not in covered]
    assert [command for block in left for command in block if command not in INSTEAD] == []
