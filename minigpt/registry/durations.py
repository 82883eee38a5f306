"""How long each stage took: MLflow knows, no output does."""

from pathlib import Path

from minigpt.graph import read_graph
from minigpt.tracking.delivery import deliver_all
from minigpt.tracking.mlflow_tracker import newest_run
from minigpt.tracking.store import is_new, open_store


def stage_durations(root: Path) -> dict[str, float]:
    """Seconds of the run that made each stage's present outputs; a stage without one is left out.

    Raises:
        RegistryError: the store cannot be read.
    """
    deliver_all(root)
    if is_new(root):
        return {}
    store, seconds = open_store(root), {}
    for name, stage in read_graph(root).items():
        if not all((root / out).exists() for out in stage.outs):
            continue
        if (run := newest_run(store, name, stage.output_digest(root))) is not None:
            seconds[name] = (run.info.end_time - run.info.start_time) / 1000
    return seconds
