"""Where parameters, metrics and digests go: a journal of the run, and from there to MLflow.

A stage only writes the journal. Only this package and registry import mlflow, and only once a store
is opened (it takes seconds).
"""

from minigpt.tracking.journal import PARENT_ENV, Journal, open_journal
from minigpt.tracking.tracker import NullTracker, Status, Tracker, numbers

__all__ = [
    "PARENT_ENV",
    "Journal",
    "NullTracker",
    "Status",
    "Tracker",
    "numbers",
    "open_journal",
]
