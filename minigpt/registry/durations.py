"""How long each stage took: MLflow knows, no output does."""

from pathlib import Path

from minigpt.graph import read_graph
from minigpt.tracking import find_run
from minigpt.tracking.store import clear_errors, is_new, open_store


def stage_durations(root: Path) -> dict[str, float]:
    """Seconds of the run that made each stage's present outputs; a stage without one is left out.

    Raises:
        RegistryError: the store cannot be read.
    """
    if is_new(root):
        return {}
    store, seconds = open_store(root), {}
    for name, stage in read_graph(root).items():
        if not all((root / out).exists() for out in stage.outs):
            continue
        run_id = find_run(root, name, stage.output_digest(root))
        if run_id is not None:
            with clear_errors(store.uri):
                info = store.client.get_run(run_id).info
            seconds[name] = (info.end_time - info.start_time) / 1000
    return seconds
