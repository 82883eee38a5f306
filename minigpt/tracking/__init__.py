"""Where a stage's parameters, metrics and digests go: MLflow, or nowhere.

Only this package and registry import mlflow, and only once a store is opened (it takes seconds).
"""

from minigpt.tracking.mlflow_tracker import (
    PARENT_ENV,
    MlflowTracker,
    close_parent,
    find_run,
    link_run,
    open_child,
    open_parent,
)
from minigpt.tracking.tracker import NullTracker, Status, Tracker, numbers

__all__ = [
    "PARENT_ENV",
    "MlflowTracker",
    "NullTracker",
    "Status",
    "Tracker",
    "close_parent",
    "find_run",
    "link_run",
    "numbers",
    "open_child",
    "open_parent",
]
