"""Journals of other stores and machines, and damaged ones: the rest is delivered all the same."""

import errno
import json
import os
import shutil
import time

import pytest

from minigpt.files import ABANDONED_SECONDS
from minigpt.process import take_lock
from minigpt.tracking import PARENT_ENV, open_journal
from minigpt.tracking.address import of_store, shown, store_name
from minigpt.tracking.courier import trouble_of
from minigpt.tracking.delivery import (
    COURIER,
    DAMAGED,
    LOCK,
    QUIET_SECONDS,
    TROUBLE,
    Delivery,
    all_delivered,
    deliver_all,
    is_at_work,
    waiting,
)
from minigpt.tracking.journal import RUNS, Journal, beginning, journals, read, store_of
from tests.tracking.test_delivery import Memory


def change(journal, number, **values):
    """Put other values into a line of a journal that is on the disk."""
    lines = journal.path.read_text().splitlines()
    lines[number] = json.dumps(json.loads(lines[number]) | values)
    journal.path.write_text("".join(f"{line}\n" for line in lines))


def fall_silent(journal, seconds):
    since = time.time() - seconds - 1
    os.utime(journal.path, (since, since))


def test_each_store_gets_its_own_journals(tmp_path, monkeypatch):
    own = open_journal(tmp_path, "pretrain")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@tracking.example:5000")
    others = open_journal(tmp_path, "finetune")
    assert store_of(others.path) == "http://tracking.example:5000"
    assert "secret" not in others.path.read_text()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    the_same = open_journal(tmp_path, "evaluate")
    for journal in (own, others, the_same):
        journal.close()
    sink = Memory()
    Delivery(tmp_path / RUNS, [sink]).round()
    assert list(sink.runs) == [own.id, the_same.id]
    assert journals(tmp_path / RUNS) == [others.path]
    Delivery(tmp_path / RUNS, [sink], store=store_of(others.path)).round()
    assert journals(tmp_path / RUNS) == []


@pytest.mark.parametrize(
    ("address", "seen"),
    [
        ("http://u:p@h:5000/a@b", "http://h:5000/a@b"),
        ("https://h/?token=s3cret&a=b", "https://h/?token=…&a=b"),
        ("postgresql://u:pa/ss@host/db", "postgresql://host/db"),
        ("postgresql://u:p?a#ss@host/db", "postgresql://host/db"),
        ("mysql+pymysql://u@host/db", "mysql+pymysql://host/db"),
        ("postgresql://host/db?user=u&password=s3cret", "postgresql://host/db?user=u&password=…"),
        ("postgresql://host/db?options=a@b", "postgresql://host/db?options=a@b"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_nobody_sees_the_password_of_a_store(address, seen):
    assert shown(address) == seen


def test_one_store_has_one_name(tmp_path, monkeypatch):
    checkout, link = tmp_path / "checkout", tmp_path / "link"
    checkout.mkdir()
    link.symlink_to(checkout)
    names = set()
    for address in ("", f"sqlite:///{checkout}/mlflow.db", f"sqlite:///{link}/mlflow.db"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        names.add(store_name(checkout))
    assert names == {""}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://h:5000/")
    assert store_name(checkout) == "http://h:5000"


def test_a_stage_records_where_its_flow_does(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    flow = open_journal(tmp_path, "pipeline")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv(PARENT_ENV, str(flow.path))
    stage = open_journal(tmp_path / "clone", "pretrain")
    trial = Journal(flow.path.parent, "lr=0.01", parent=flow.path)
    assert beginning(trial.path).event["parent"] == flow.id
    trial.close()
    assert (
        store_of(trial.path)
        == store_of(stage.path)
        == store_of(flow.path)
        == "http://tracking.example:5000"
    )
    flow.close()
    stage.close()


def test_what_waits_for_another_store_goes_only_where_a_person_asks_for_it(
    root, run_of, monkeypatch, capsys
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    journal = open_journal(root, "pretrain", "pretrain")
    journal.close()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    deliver_all(root)
    assert journals(root / RUNS) == [journal.path]
    assert all_delivered(root)  # as far as this store is concerned
    still_written = open_journal(root, "finetune", "finetune")
    change(still_written, 0, store="http://127.0.0.1:9")
    deliver_all(root, of_others=True)
    assert "3 events of 2 runs that waited for http://127.0.0.1:9 go to" in capsys.readouterr().err
    assert run_of(journal).info.status == "FINISHED"
    assert journals(root / RUNS) == [still_written.path]
    still_written.close()
    lock = take_lock(root / RUNS / of_store(COURIER, "http://127.0.0.1:9"))  # one is at work
    deliver_all(root, of_others=True)
    assert journals(root / RUNS) == [still_written.path]
    os.close(lock)
    deliver_all(root, of_others=True)
    assert journals(root / RUNS) == []
    for path in (root / RUNS).glob("*-*.lock"):
        path.unlink()


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\0" * 4096,
        b'{"event": "begin", "time": 1, "na',
        b'{"event": "begin", "time": 1, "sinks": ["mlflow"]}\n',
        b'{"event": "begin", "time": 1, "name": "a", "stage": null, "tags": {}, "parent": null, '
        b'"owner": {"host": "here"}, "sinks": ["mlflow"]}\n',
        b'[1]\n{"event": "close", "time": 1, "status": "FINISHED"}\n',
        b'{"event": "close", "time": 1, "status": "FINISHED"}\n',
    ],
)
def test_a_journal_without_its_beginning_is_set_aside_and_the_next_is_delivered(
    first, tmp_path, capsys
):
    damaged = tmp_path / "20200101T000000-000000001-aaaaaaaa.jsonl"
    damaged.write_bytes(first)
    (tmp_path / "folder.jsonl").mkdir()
    journal = Journal(tmp_path, "pretrain")
    journal.close()
    sink = Memory()
    Delivery(tmp_path, [sink]).round()
    assert list(sink.runs) == [journal.id]
    assert f"{damaged}: its first line cannot be read" in capsys.readouterr().err
    assert damaged.with_suffix(DAMAGED).read_bytes() == first
    Delivery(tmp_path, [sink]).round()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "values",
    [{"values": None}, {"values": {"a": None}}, {"time": "soon"}, {"step": [1]}, {"event": 7}],
)
def test_a_damaged_line_is_passed_over(values, tmp_path):
    journal = Journal(tmp_path, "pretrain")
    journal.metrics({"loss": 1.0}, 1)
    journal._monitor.finish()
    journal.tag("a", "b")
    journal.close()
    before = read(journal.path)
    change(journal, 1, **values)
    after = [line.event for line in read(journal.path)]
    assert after == [line.event for line in before if line is not before[1]]


@pytest.mark.parametrize("offset", ['"x"', "null", "-5", "0", "10000000", "[]"])
def test_a_damaged_note_counts_as_none(offset, tmp_path):
    journal = Journal(tmp_path, "pretrain")
    journal.tag("a", "b")
    journal.close()
    note = journal.path.with_suffix(".mlflow")
    note.write_text(f'{{"place": "memory", "run": "{journal.id}", "offset": {offset}}}')
    assert waiting(tmp_path) == (3, 1)
    sink = Memory()
    Delivery(tmp_path, [sink]).round()
    assert sink.runs == {journal.id: ["tag", "close"]}


def test_a_copy_of_an_artifact_that_is_gone_is_said_and_the_rest_is_delivered(root, run_of, capsys):
    journal = open_journal(root, "evaluate", "evaluate")
    (root / "figures.txt").write_text("1.9")
    journal.artifact(root / "figures.txt")
    journal.tag("a", "b")
    journal.close()
    shutil.rmtree(journal.path.with_suffix(".files") / "0000")
    deliver_all(root)
    assert "has a gap" in capsys.readouterr().err
    run = run_of(journal)
    assert (run.data.tags["a"], run.info.status) == ("b", "FINISHED")


def test_a_journal_of_another_machine_is_ended_after_long_silence(tmp_path):
    journal = open_journal(tmp_path, "pretrain", "pretrain")
    change(journal, 0, owner=beginning(journal.path).event["owner"] | {"host": "a-container"})
    sink = Memory()
    Delivery(tmp_path / RUNS, [sink]).round()
    assert sink.runs == {journal.id: []}
    assert all_delivered(tmp_path)
    assert is_at_work(journal.path)
    fall_silent(journal, QUIET_SECONDS)
    assert not is_at_work(journal.path)
    assert all_delivered(tmp_path)
    fall_silent(journal, ABANDONED_SECONDS)
    assert not all_delivered(tmp_path)
    Delivery(tmp_path / RUNS, [sink]).round()
    assert sink.runs == {journal.id: ["close"]}
    assert journals(tmp_path / RUNS) == []


def test_trouble_ends_with_its_cause_and_is_no_word_of_a_flow(root, tmp_path, monkeypatch):
    open_journal(root, "pretrain", "pretrain").close()
    trouble = root / RUNS / TROUBLE
    trouble.write_text("http://127.0.0.1:9 does not answer\n")
    assert trouble_of(root / RUNS) == "http://127.0.0.1:9 does not answer"
    with monkeypatch.context() as flow:
        flow.setenv(PARENT_ENV, str(tmp_path / "flow.jsonl"))
        assert trouble_of(root / RUNS) is None
    deliver_all(root)
    assert trouble_of(root / RUNS) is None


def test_a_full_disk_at_the_beginning_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    journal = Journal(tmp_path, "pretrain")
    journal.tag("a", "b")
    journal.close()
    assert [path for path in tmp_path.iterdir() if path.name != LOCK] == []
    said = capsys.readouterr().err
    assert said.count("has a gap") == 1
    assert os.strerror(errno.ENOSPC) in said
