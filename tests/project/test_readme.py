"""Every command that the README shows, or that a run prints at its end, works."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import Project
from tests.patience import patience, until
from tests.project import test_readme_serving as serving
from tests.project.readme import BLOCKS, block_with, free_port

ROOT = Path(__file__).resolve().parents[2]
NIGHT = "git pull --rebase --autostash"  # a line of what the nightly machine does
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
STORE = 'export MLFLOW_TRACKING_URI="sqlite:///$PWD/mlflow.db"'
CURL = "curl localhost:5001/invocations -H 'Content-Type: application/json' \\"
FETCH = "mlflow artifacts download -r RUN -a exports/hf -d ."


def run_block(project, commands, **environment):
    for command in commands:
        project.run("bash", "-c", INSTEAD.get(command, command), env=environment)


def change(project):
    """What makes another version in the seconds of quantize and manifest."""
    group = project.params()["quantize"]["int4_group_size"]
    project.set_params(lambda values: values["quantize"].update(int4_group_size=group // 2))


def test_the_commands_of_use(registered):
    run_block(registered, block_with("minigpt report"))
    assert (registered.root / "reports" / "index.html").is_file()


def test_the_commands_of_use_in_another_folder(registered, tmp_path):
    export, load, serve = block_with(STORE)
    port, elsewhere = free_port(), tmp_path / "elsewhere"
    elsewhere.mkdir()

    def there(*lines):
        text = "\n".join([export, f"cd '{elsewhere}'", *lines])
        return text.replace("/minigpt@", "/minigpt-tiny@").replace("5001", str(port))

    assert registered.run("bash", "-c", there(load)).stdout.strip()
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", there(serve)],
            cwd=registered.root, env=registered.environment(), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/ping"), 120)
        answer = registered.run("bash", "-c", there(*block_with(CURL))).stdout
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=patience(30))
    assert json.loads(answer)["predictions"][0]
    assert not list(elsewhere.iterdir())


def test_the_commands_that_fetch_an_export(registered, tmp_path):
    download, example = block_with(FETCH)
    run = json.loads(registered.minigpt("lineage", "champion", "--json").stdout)["run"]
    lines = [f"cd '{tmp_path}'", download.replace("RUN", run), example]
    store = {"PYTHONPATH": "", "MLFLOW_TRACKING_URI": f"sqlite:///{registered.root}/mlflow.db"}
    done = registered.run("bash", "-ec", "\n".join(lines), env=store)
    assert "My fellow citizens" in done.stdout


def test_the_commands_of_proof(registered):
    run_block(registered, block_with("minigpt lineage champion"))


def test_the_commands_of_promotion(registered):
    run_block(registered, block_with("minigpt registry log"))
    said = registered.minigpt("compare", "champion", "challenger").stderr
    assert "are both minigpt-tiny 1" in said
    change(registered)
    registered.repro()  # as `make run`, but nobody judges it
    registered.minigpt("registry", "sync")
    run_block(registered, block_with("minigpt compare 1 2"))
    [*_, promoted, rolled_back] = registered.minigpt("registry", "log").stdout.splitlines()
    assert "2 in place of 1" in promoted
    assert rolled_back.endswith("it answers in verse")


def test_the_commands_of_change(project):
    run_block(project, block_with("dvc metrics diff"))
    page = (project.root / "dvc_plots" / "index.html").read_text()
    assert "<script src" not in page


def test_the_commands_by_hand(project):
    run_block(project, block_with("dvc repro"))
    assert "champion" in project.minigpt("registry", "list").stdout


@pytest.fixture
def tracking(tmp_path):
    """The README's tracking server at a port that was free, in a folder of its own."""
    folder, port = tmp_path / "server", free_port()
    folder.mkdir()
    [command] = next(block for block in BLOCKS if block[0].startswith("mlflow server "))
    command = command.replace("0.0.0.0", "127.0.0.1").replace("tracking:5000", f"127.0.0.1:{port}")
    command = command.replace("--port 5000", f"--port {port} --workers 1")
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder, env=Project(folder).environment(**quiet), stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: answers(f"http://127.0.0.1:{port}/health"))
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=patience(30))


def answers(url):
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
        return True


def test_the_commands_of_a_team(project, tracking, tmp_path):
    origin, store = tmp_path / "origin.git", tmp_path / "store"
    change(project)
    project.commit("a change that the next night builds")
    project.run("git", "clone", "-q", "--bare", str(project.root), str(origin))
    here = INSTEAD | {
        "git clone <this repository> minigpt && cd minigpt": f"git clone -q '{origin}' minigpt",
        "dvc remote add -d store /srv/minigpt": f"dvc remote add -d store '{store}'",
        "export MLFLOW_TRACKING_URI=http://tracking:5000": f"export MLFLOW_TRACKING_URI={tracking}",
        "make setup": "cd minigpt",  # .ci/run does it on a fresh clone; each block's shell is new
    }
    roles = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{role}_{what}": "team" for role in roles for what in ("NAME", "EMAIL")}

    def run(machine, command, first="true", check=True):
        """A block of the README in one shell of a machine, which is a folder."""
        (tmp_path / machine).mkdir(exist_ok=True)
        lines = [first, *(here.get(line, line) for line in block_with(command))]
        clone = Project(tmp_path / machine / "minigpt")
        folder = tmp_path / machine
        said = clone.run("bash", "-ec", "\n".join(lines), cwd=folder, env=who, check=check)
        return clone, said

    nightly, _ = run("nightly", "dvc remote add -d store /srv/minigpt")
    cache = Path(".dvc") / "cache"  # what was built before that night: training takes long
    shutil.copytree(project.root / cache, nightly.root / cache)
    run("nightly", NIGHT, first="cd minigpt")
    assert nightly.run("git", "log", "-1", "--format=%s").stdout == "Nightly build\n"
    said = nightly.run("git", "status", "--porcelain", "--branch").stdout
    assert said == "## main...origin/main\n"
    quiet_night_and_bad_night(
        nightly, project, origin, partial(run, "nightly", NIGHT, first="cd minigpt")
    )

    teammate, said = run("teammate", "dvc pull")
    assert re.search(
        r"^minigpt-tiny version 1 · challenger · champion since ", said.stdout, re.MULTILINE
    )
    assert re.search(r"^identical: (\d+) of \1 files", said.stdout, re.MULTILINE)
    assert "My fellow citizens" in said.stdout
    assert not (teammate.root / "mlflow.db").exists()
    assert "didn't change, skipping" in teammate.repro("tokenize").stdout

    shutil.rmtree(teammate.root / cache)  # as before the pull
    server = {"MLFLOW_TRACKING_URI": tracking}
    done = teammate.minigpt("verify", "--from-cache", check=False, env=server)
    assert done.returncode == 4, done.stderr
    assert re.search(r"data/documents +\d files? +not here\n", done.stdout)
    assert "DIFFERENT" not in done.stdout
    assert "what is not here: dvc pull" in done.stderr


def quiet_night_and_bad_night(nightly, project, origin, run):
    """Nothing to do is no failure; what fails is not published, and mends itself once it can."""
    published = nightly.run("git", "rev-parse", "HEAD").stdout
    run()
    assert nightly.run("git", "rev-parse", "HEAD").stdout == published
    project.run("git", "pull", "-q", "--rebase", str(origin), "main")
    stage = project.root / "stages" / "quantize.py"
    whole = stage.read_text()
    for text, works in (("raise SystemExit(1)\n" + whole, False), (whole + "# as before\n", True)):
        stage.write_text(text)
        project.commit("quantize")
        project.run("git", "push", "-q", str(origin), "main")
        _, said = run(check=False)
        assert (said.returncode == 0) == works, said.stderr
        by_night = nightly.run("git", "log", "-1", "--format=%s", "origin/main").stdout
        assert (by_night == "Nightly build\n") == works


def test_which_data_made_this_model_is_on_the_first_screen():
    screen = (ROOT / "README.md").read_text().splitlines()[:40]
    [line] = [line for line in screen if "Which data made this model" in line]
    assert "`minigpt lineage champion`" in line


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


def test_a_linked_folder_is_followed_and_dvc_sees_an_edit(letters, tmp_path):
    home, tiny = tmp_path / "home", letters.params()
    letters.commit("tiny's base")
    run_block(letters, block_with("minigpt preset local --path ~/letters --link"), HOME=str(home))
    linked = letters.params()["sources"]["letters"]
    assert linked["path"] == "~/letters"
    letters.set_params(lambda values: values.update(tiny))
    letters.set_params(lambda values: values["sources"].update(letters=linked))
    letters.repro("download", env={"HOME": str(home)})
    (home / "letters" / "notes.md").write_text("Rewritten at home.\n")
    assert "up to date" in letters.run("dvc", "status", "download").stdout
    letters.minigpt("plan", env={"HOME": str(home)})
    assert "data/local" in letters.run("dvc", "status", "download").stdout
    assert "Running stage 'download'" in letters.repro("download", env={"HOME": str(home)}).stdout
    outputs = [p for p in (letters.root / "data" / "raw").rglob("*") if p.is_file()]
    assert outputs
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in outputs)


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
    tested = ["minigpt report", "dvc metrics diff", "dvc repro", "minigpt compare 1 2"]
    tested += ["dvc remote add -d store /srv/minigpt", NIGHT, "dvc pull"]
    tested += [line for block in BLOCKS for line in block if line.startswith("mlflow server ")]
    tested += [STORE, CURL, FETCH]
    tested += ["minigpt lineage champion", "minigpt registry log"]
    tested += ["minigpt doctor", "minigpt preset local --path ~/letters"]
    tested += ["minigpt preset local --path ~/letters --link"]
    tested += serving.COMMANDS  # test_readme_serving.py
    covered = [block_with(command) for command in tested]
    left = [block for block in BLOCKS if block not in covered]
    assert [command for block in left for command in block if command not in INSTEAD] == []
