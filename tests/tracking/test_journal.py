"""What a stage leaves on the disk, and how it is read when that is not whole."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from minigpt.tracking import PARENT_ENV, open_journal
from minigpt.tracking.delivery import Delivery
from minigpt.tracking.journal import RUNS, Journal, beginning, has_ended, journals, read
from minigpt.tracking.origin import origin


def kinds(path, start=0):
    return [line.event["event"] for line in read(path, start)]


def test_journals_are_read_in_the_order_in_which_they_began(tmp_path):
    ids = [Journal(tmp_path, f"stage {i}").id for i in range(20)]
    assert [path.stem for path in journals(tmp_path)] == ids


def test_a_second_that_begins_between_two_journals_leaves_them_in_order(tmp_path, monkeypatch):
    clock = iter([1_999_999_999, 2_000_000_001])
    monkeypatch.setattr("minigpt.tracking.journal.time.time_ns", lambda: next(clock))
    monkeypatch.setattr("minigpt.tracking.journal.milliseconds", lambda: 2_000)
    ids = [Journal(tmp_path, name).id for name in ("pretrain", "finetune")]
    assert sorted(ids) == ids


def test_every_event_is_a_line_that_is_there_at_once(tmp_path):
    journal = open_journal(tmp_path, "pretrain", "pretrain", {"minigpt.commit": "c0ffee"})
    journal.metrics({"loss": 2.0}, 3)
    begin, metrics = (line.event for line in read(journal.path))
    assert (begin["name"], begin["stage"]) == ("pretrain", "pretrain")
    assert begin["tags"] == origin(tmp_path) | {"minigpt.commit": "c0ffee"}
    assert begin["owner"]["pid"] == str(os.getpid())
    assert (metrics["values"], metrics["step"]) == ({"loss": 2.0}, 3)
    assert begin["time"] <= metrics["time"]
    journal.close()


def test_a_torn_last_line_is_left_until_it_is_whole(tmp_path):
    journal = Journal(tmp_path, "pretrain")
    journal.tag("a", "b")
    end = read(journal.path)[-1].end
    with journal.path.open("ab") as file:
        file.write(b'{"event": "metrics", "time": 1, "step": 0, "val')
    assert [line.end for line in read(journal.path)][-1] == end
    with journal.path.open("ab") as file:
        file.write(b'ues": {}}\n')
    assert kinds(journal.path, end) == ["metrics"]
    journal.close()


def test_what_a_full_disk_took_half_of_spoils_no_line_behind_it(tmp_path, monkeypatch, capsys):
    journal = Journal(tmp_path, "pretrain")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
    journal.tag("lost", "this")
    journal.tag("lost", "that")
    monkeypatch.setattr(os, "write", write)
    journal.tag("there", "again")
    journal.close()
    assert kinds(journal.path) == ["begin", "tag", "close"]
    assert capsys.readouterr().err.count("has a gap") == 1


def test_a_folder_that_cannot_be_written_is_said_once_and_harms_no_stage(tmp_path, capsys):
    (tmp_path / ".work").write_text("a file where the folder should be")
    journal = open_journal(tmp_path, "pretrain", "pretrain")
    journal.tag("a", "b")
    journal.artifact(tmp_path / "a")
    journal.close()
    assert capsys.readouterr().err.count("has a gap") == 1


def test_an_artifact_that_is_not_there_is_said_and_harms_no_stage(tmp_path, capsys):
    journal = Journal(tmp_path / "runs", "pretrain")
    journal.artifact(tmp_path / "nothing")
    journal.close()
    assert os.strerror(errno.ENOENT) in capsys.readouterr().err
    assert kinds(journal.path) == ["begin", "close"]


def test_a_stage_writes_beside_the_journal_of_its_flow(tmp_path, monkeypatch):
    flow = open_journal(tmp_path / "workspace", "pipeline")
    monkeypatch.setenv(PARENT_ENV, str(flow.path))
    stage = open_journal(tmp_path / "clone", "pretrain", "pretrain")
    assert stage.path.parent == flow.path.parent == tmp_path / "workspace" / RUNS
    assert beginning(stage.path).event["parent"] == flow.id
    stage.close()
    flow.close()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_the_run_of_a_killed_stage_is_ended_as_killed(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from minigpt.tracking.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), 'pretrain'); journal.metrics({'loss': 1.0}, 1)\n"
        'os.write(journal._file, b\'{"event": "met\'); os.kill(os.getpid(), signal.SIGKILL)'
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    living = Journal(tmp_path, "evaluate")
    [killed, other] = journals(tmp_path)
    Delivery(tmp_path, []).round()
    assert kinds(killed) == ["begin", "metrics", "close"]
    assert read(killed)[-1].event["status"] == "KILLED"
    assert has_ended(killed)
    assert not has_ended(other)
    living.close()
    assert has_ended(other)


def test_numbers_that_json_lacks_are_read_as_they_were_written(tmp_path):
    journal = Journal(tmp_path, "pretrain")
    journal.metrics({"a": float("nan"), "b": float("-inf")})
    journal.close()
    values = read(journal.path)[1].event["values"]
    assert json.dumps(values) == '{"a": NaN, "b": -Infinity}'
