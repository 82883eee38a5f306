import os
import re
import subprocess

from pipelines.dag import anything_stale
from pipelines.runner import Outcome, Reader, run_stage


class Silent:
    def __init__(self):
        self.lines = []

    def started(self, stage):
        self.lines.append("started")

    def said(self, stage, text):
        self.lines.append(text)


def read(lines, stage="validate"):
    reader = Reader(stage, Silent())
    for line in lines:
        reader.read(line)
    return reader


FULL = """
import errno, os, dvc_objects.fs.generic

def copy(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

dvc_objects.fs.generic.copy = copy
"""


def test_what_finds_no_room_on_its_way_out_of_the_cache_says_so(project, tmp_path, monkeypatch):
    """DVC itself says `No possible cache link types`."""
    run_stage("zeta", project, Silent())
    (project / "zeta.txt").unlink()
    (project / ".dvc" / "config").write_text("[cache]\n    type = copy\n")
    (tmp_path / "site" / "sitecustomize.py").parent.mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(FULL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    told = rf"{project}/zeta\.txt cannot be restored: "
    failed = run_stage("zeta", project, Silent())
    assert failed.outcome is Outcome.FAILED
    assert re.search(rf"{told}the disk is full \(\S+ .B free\)\. Make room$", failed.said)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    said = run_stage("zeta", project, Silent()).said
    assert re.search(rf"{told}{project} cannot be written\. Mend its permissions$", said)


def test_ran_unchanged_restored_and_failed_are_told_apart(project):
    watcher = Silent()
    ran = run_stage("zeta", project, watcher)
    assert (ran.outcome, ran.said) == (Outcome.RAN, "wrote 52 characters")
    assert watcher.lines == ["started", "step 1/2", "wrote 52 characters"]
    assert "Running stage 'zeta'" in (project / ".work/logs/zeta.log").read_text()

    assert run_stage("zeta", project, Silent()).outcome is Outcome.UNCHANGED

    (project / "zeta.txt").unlink()
    assert run_stage("zeta", project, Silent()).outcome is Outcome.RESTORED

    (project / "beta.fails").touch()
    failed = run_stage("beta", project, Silent())
    assert failed.outcome is Outcome.FAILED
    assert failed.said == "2 documents fail\n  a.txt  bad"
    assert not (project / "beta.txt").exists()
    assert anything_stale(project)


def test_a_stage_changed_by_hand_runs_again(project):
    assert run_stage("zeta", project, Silent()).outcome is Outcome.RAN
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("seed: 1", "seed: 2"))
    assert run_stage("zeta", project, Silent()).outcome is Outcome.RAN
    assert subprocess.run(["git", "diff", "--quiet", "step.py"], cwd=project).returncode == 0


FAILED = "ERROR: failed to reproduce 'validate': failed to run: python -m stages.validate, exited"
RUNNING = ["Running stage 'validate':", "> python -m stages.validate"]


def test_only_the_stages_last_message_is_shown():
    lines = [*RUNNING, "validate: checking", "a library warns", "validate: bad text", "  in a.txt"]
    assert read([*lines, f"{FAILED} with 2"]).failure() == "bad text\n  in a.txt"


def test_a_crash_gives_its_last_line_and_where_the_rest_is():
    trace = ["Traceback (most recent call last):", "  File …", "KeyError: 'x'"]
    said = read([*RUNNING, "validate: checking", *trace, f"{FAILED} with 1"]).failure()
    assert said == "crashed: KeyError: 'x'\n  all it said: .work/logs/validate.log"


def test_a_stage_that_ends_without_a_word_is_not_given_those_of_dvc():
    said = read([*RUNNING, f"{FAILED} with 1"]).failure()
    assert said == "crashed: it said nothing\n  all it said: .work/logs/validate.log"


def test_a_killed_stage_says_that_the_same_command_goes_on():
    assert "signal (-9)" in read([*RUNNING, f"{FAILED} with -9"]).failure()
    assert "signal (DVC with it)" in read(RUNNING).failure()


def test_what_dvc_refuses_itself_is_shown_in_its_words():
    busy = read(["ERROR: '/p/a.txt' is busy, it is being blocked by:", "  (PID 7): dvc repro"])
    assert busy.failure() == "'/p/a.txt' is busy, it is being blocked by:\n  (PID 7): dvc repro"
    gone = read([*RUNNING, "validate: fine", "ERROR: failed: output 'a' does not exist"])
    assert gone.failure() == "failed: output 'a' does not exist"
