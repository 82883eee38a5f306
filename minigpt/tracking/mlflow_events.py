"""Events of a run as calls of MLflow's client. A second call changes nothing."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.log import say
from minigpt.tracking.tracker import Event, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAM_LENGTH = 500  # a column of the UI; the whole value is in params.yaml beside it
METRICS_A_CALL, PARAMS_A_CALL, TAGS_A_CALL = 1000, 100, 100  # MLflow's limits


def write_events(client: "MlflowClient", run_id: str, events: Sequence[Event], base: Path) -> None:
    """Write them to a run that has begun; paths of artifacts are relative to `base`.

    MLflow takes a metric's row, a param, a dataset and an ending that it has already for the same.

    Raises:
        MlflowException, OSError: as MLflow's client.
    """
    from mlflow.entities import Metric, Param, RunTag

    metrics, params, tags = [], [], {}
    for event in events:
        match event["event"]:
            case "metrics":
                metrics += [
                    Metric(_allowed(key), float(value), event["time"], event["step"])
                    for key, value in event["values"].items()
                ]
            case "params":
                flat = flatten(event["values"])
                params += [Param(_allowed(key), _shortened(v)) for key, v in flat.items()]
            case "tag":
                tags[event["key"]] = event["value"]
    for part in _slices(params, PARAMS_A_CALL):
        client.log_batch(run_id, params=part)
    for part in _slices([RunTag(key, value) for key, value in tags.items()], TAGS_A_CALL):
        client.log_batch(run_id, tags=part)
    for part in _slices(metrics, METRICS_A_CALL):
        client.log_batch(run_id, metrics=part)
    for event in events:
        match event["event"]:
            case "params":
                client.log_text(run_id, _yaml(event["values"]), "params.yaml")
            case "dataset":
                _write_dataset(client, run_id, event)
            case "artifact":
                path, folder = base / event["path"], event["folder"]
                if not path.exists():
                    say(f"the record of run {run_id} has a gap: {path} is gone")
                elif path.is_dir():
                    client.log_artifacts(run_id, str(path), folder)
                else:
                    client.log_artifact(run_id, str(path), folder)
            case "close":
                client.set_terminated(run_id, event["status"], event["time"])


def _write_dataset(client: "MlflowClient", run_id: str, event: Event) -> None:
    """As an MLflow dataset; its digest column holds 36 characters, the tag all of them."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest, source = event["digest"], json.dumps({"uri": event["path"]})
    data = Dataset(name=event["name"], digest=digest[:36], source_type="local", source=source)
    tags = [InputTag("mlflow.data.context", event["context"]), InputTag("minigpt.digest", digest)]
    client.log_inputs(run_id, [DatasetInput(data, tags)])


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _slices(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _allowed(name: str) -> str:
    """`name` with what MLflow does not take replaced: one bad name would fail its whole batch."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - 1] + "…"
