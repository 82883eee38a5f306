"""Events of a run as calls of MLflow's client. A second call changes nothing."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt.log import say
from minigpt.tracking.tracker import Event, flatten

if TYPE_CHECKING:
    from mlflow import MlflowClient

PARAM_LENGTH = 500  # a column of the UI; the whole value is in params.yaml beside it
DIGEST_LENGTH = 36  # of a dataset
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
                    Metric(allowed(key), float(value), event["time"], event["step"])
                    for key, value in event["values"].items()
                ]
            case "params":
                params += [Param(key, text) for key, text in param_texts(event["values"]).items()]
            case "tag":
                tags[event["key"]] = event["value"]
    for part in _slices(params, PARAMS_A_CALL):
        client.log_batch(run_id, params=part)
    for part in _slices([RunTag(key, value) for key, value in tags.items()], TAGS_A_CALL):
        client.log_batch(run_id, tags=part)
    for part in _slices(metrics, METRICS_A_CALL):
        client.log_batch(run_id, metrics=part)
    write_datasets(client, run_id, [event for event in events if event["event"] == "dataset"])
    for event in events:
        match event["event"]:
            case "params":
                client.log_text(run_id, _yaml(event["values"]), "params.yaml")
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


def write_datasets(client: "MlflowClient", run_id: str, events: Sequence[Event]) -> None:
    """As MLflow's datasets; their digest column holds 36 characters, the tag all of them."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = [
        DatasetInput(
            Dataset(
                name=event["name"],
                digest=event["digest"][:DIGEST_LENGTH],
                source_type="local",
                source=json.dumps({"uri": event["path"]}),
            ),
            [
                InputTag("mlflow.data.context", event["context"]),
                InputTag("minigpt.digest", event["digest"]),
            ],
        )
        for event in events
    ]
    if inputs:
        client.log_inputs(run_id, inputs)


def param_texts(values: Mapping[str, Any]) -> dict[str, str]:
    """Nested parameters as MLflow takes them: dotted names, and texts that are not too long."""
    return {allowed(key): _shortened(value) for key, value in flatten(values).items()}


def _yaml(values: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _slices(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def allowed(name: str) -> str:
    """`name` with what MLflow does not take replaced: one bad name would fail its whole batch."""
    return re.sub(r"[^\w./ -]", "_", name)[:250]


def _shortened(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= PARAM_LENGTH else text[: PARAM_LENGTH - 1] + "…"
