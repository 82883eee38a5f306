"""Whatever happens between two steps of a delivery, the store holds every event once."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from minigpt.errors import RegistryError
from minigpt.tracking import delivery, mlflow_sink, open_journal
from minigpt.tracking.delivery import Delivery, deliver_all, only_deliverer, sinks_of, waiting
from minigpt.tracking.journal import RUNS, SUFFIX, Journal, journals
from minigpt.tracking.store import Store


class Memory:
    """A sink that keeps events by journal, and refuses when it is told to."""

    def __init__(self, name="mlflow"):
        self.name, self.runs, self.fails = name, {}, False

    def place(self):
        return "memory"

    def begin(self, journal, event):
        self.runs.setdefault(journal, [])
        return journal

    def write(self, run, events):
        if self.fails:
            raise RegistryError("the store is down")
        self.runs[run] += [event["event"] for event in events]


def record(root, steps=6):
    journal = open_journal(root, "pretrain", "pretrain")
    journal.params({"lr": 0.1})
    journal.dataset("plays", root, "ab" * 32, "training")
    for step in range(steps):
        journal.metrics({"loss": 1 / (step + 1), "lr": 0.1}, step)
    journal.tag("minigpt.output_digest", "5f1c")
    journal.close()
    return journal


class Dying:
    """MLflow's client, but this process is killed after the nth call."""

    def __init__(self, client, count):
        self._client, self._count = client, count

    @property
    def mlflow(self):
        return Dying(self._client.mlflow, self._count)

    def __getattr__(self, name):
        return lambda *args, **options: self._count(getattr(self._client, name), *args, **options)


def deliver_and_die(root, step):
    left = step

    def counted(call, *args, **options):
        nonlocal left
        result = call(*args, **options)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    opened, acknowledged = mlflow_sink.open_store, Delivery._acknowledge
    unlink, discard = Path.unlink, delivery.discard
    mlflow_sink.open_store = lambda root: Store(
        (store := opened(root)).uri, Dying(store.client, counted), store.experiment_id
    )
    Delivery._acknowledge = lambda *args: counted(acknowledged, *args)
    delivery.discard = lambda path: counted(discard, path)
    Path.unlink = lambda path, **options: (
        counted(unlink, path, **options) if path.suffix == SUFFIX else unlink(path, **options)
    )
    delivery.BATCH = 4
    deliver_all(root)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process starts from this one's imports")
def test_a_delivery_that_is_killed_between_any_two_steps_leaves_nothing_out_or_double(
    root, store, run_of
):
    context = multiprocessing.get_context("fork")
    step, code = 0, -signal.SIGKILL
    while code:
        step += 1
        journal = record(root, steps=3)
        process = context.Process(target=deliver_and_die, args=(root, step))
        process.start()
        process.join()
        code = process.exitcode
        assert code in (0, -signal.SIGKILL)
        record(root, steps=1)  # the next delivery, whatever is left to do
        deliver_all(root)
        run = run_of(journal)  # one and no more
        history = store.client.get_metric_history(run.info.run_id, "loss")
        assert [(m.step, m.value) for m in history] == [(s, 1 / (s + 1)) for s in range(3)]
        assert run.data.params == {"lr": "0.1"}
        assert len(store.client.mlflow.get_run(run.info.run_id).inputs.dataset_inputs) == 1
        assert run.info.status == "FINISHED"
        assert list((root / RUNS).iterdir()) == [root / RUNS / delivery.LOCK]
    assert step > 10


def test_what_waits_is_counted_and_delivered_when_the_sink_is_back(tmp_path):
    sink = Memory()
    carrier = Delivery(tmp_path, [sink])
    journal = Journal(tmp_path, "pretrain")
    journal.tag("a", "b")
    carrier.round()
    sink.fails = True
    journal.tag("c", "d")
    journal.close()
    second = Journal(tmp_path, "finetune")
    with pytest.raises(RegistryError, match="down"):
        carrier.round()
    assert waiting(tmp_path) == (3, 2)
    sink.fails = False
    carrier.round()
    assert sink.runs == {journal.id: ["tag", "tag", "close"], second.id: []}
    assert [path.stem for path in journals(tmp_path)] == [second.id]
    assert waiting(tmp_path) == (0, 0)
    second.close()


def test_nothing_is_sent_twice_while_nothing_happens(tmp_path):
    sink = Memory()
    carrier = Delivery(tmp_path, [sink])
    journal = Journal(tmp_path, "pretrain")
    assert carrier.anything_new()
    carrier.round()
    assert not carrier.anything_new()
    journal.tag("a", "b")
    assert carrier.anything_new()
    journal.close()


def test_a_second_sink_has_its_own_place_and_the_journal_stays_until_both_have_it(tmp_path):
    first, second = Memory(), Memory("another")
    journal = Journal(tmp_path, "pretrain", sinks=["mlflow", "another"])
    journal.tag("a", "b")
    journal.close()
    second.fails = True
    carrier = Delivery(tmp_path, [first, second])
    with pytest.raises(RegistryError):
        carrier.round()
    assert journals(tmp_path) == [journal.path]
    second.fails = False
    carrier.round()
    assert first.runs == second.runs == {journal.id: ["tag", "close"]}
    assert journals(tmp_path) == []


def deliver_in_child(root, answers):
    deliver_all(root)
    answers.put(os.getpid())
    answers.close()
    answers.join_thread()
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the process starts from this one's imports")
def test_two_that_deliver_at_once_deliver_once(root, store, run_of):
    written = [record(root) for _ in range(4)]
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    started = [context.Process(target=deliver_in_child, args=(root, answers)) for _ in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    for journal in written:
        run = run_of(journal)
        assert len(store.client.get_metric_history(run.info.run_id, "loss")) == 6


def test_a_delivery_that_hangs_is_named_by_the_next(tmp_path):
    Journal(tmp_path, "pretrain").close()
    with (
        only_deliverer(tmp_path, 1),
        pytest.raises(RegistryError, match="another process has been delivering"),
    ):
        Delivery(tmp_path, [Memory()]).round(wait_s=0)


def test_the_doubles_of_a_request_that_timed_out_are_removed(root, store, run_of):
    journal = open_journal(root, "pretrain", "pretrain")
    for _ in range(2):
        store.client.create_run(store.experiment_id, tags={mlflow_sink.JOURNAL: journal.id})
    journal.tag("a", "b")
    journal.close()
    Delivery(root / RUNS, sinks_of(root / RUNS)).round()
    assert run_of(journal).data.tags["a"] == "b"
