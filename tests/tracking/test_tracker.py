import pytest

from minigpt.tracking import NullTracker, numbers
from minigpt.tracking.tracker import flatten


def test_numbers_of_nested_metrics_are_named_like_curves():
    metrics = {"val": {"loss": 1, "name": "x", "done": True}, "n": 2.5}
    assert numbers(metrics) == {"val/loss": 1.0, "n": 2.5}


def test_nested_values_become_dotted_names():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_nothing_is_kept_where_nothing_is_wanted(status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tracker = NullTracker()
    tracker.metrics({"x": 1.0}, 1)
    tracker.artifact(tmp_path)
    tracker.close(status)
    assert list(tmp_path.iterdir()) == []
