"""The MLflow models of a version: the fine-tuned package, and the base that it was tuned from.

The fine-tuned one is logged with the library that reads it, from code, without a pickle, so it
loads where the checkout is not. The base is a record without files: these are the version's.
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import minigpt
from minigpt.tracking.experiment import DESCRIPTION
from minigpt.tracking.mlflow_events import DIGEST_LENGTH, METRICS_A_CALL, allowed, param_texts
from minigpt.tracking.mlflow_tracker import is_active
from minigpt.tracking.store import Store
from minigpt.tracking.tracker import milliseconds

REQUIREMENTS = (
    "mlflow-skinny", "numpy", "pandas", "psutil", "pydantic", "pyyaml", "rustbpe", "safetensors",
    "tiktoken", "torch",
)  # fmt: skip
"""What loading, generating and MLflow's own server import: what `mlflow models serve` installs."""

PARAMS = {  # name: (MLflow type, default) of what `predict` takes beside the texts
    "max_tokens": ("long", 200),
    "temperature": ("double", 0.8),
    "top_k": ("long", 50),
    "top_p": ("double", 0.95),
    "seed": ("long", 0),
}


EXAMPLE = (["My fellow citizens"], {"max_tokens": 50, "seed": 0})
"""A request, beside the model as a server takes it: serving_input_example.json."""
KIND = "text-generation"
DIGEST = "minigpt.digest"  # tag: of the package


@dataclass(frozen=True)
class Made:
    """A package that a stage wrote, as MLflow's page of a model tells of it."""

    package: Path
    name: str
    digest: str
    runs: Sequence[str]
    """The run of the stage first, where the store has it; then that of the registration."""
    params: Mapping[str, Any]
    """Sections of params.yaml that shaped it."""
    about: str

    def facts(self) -> dict[str, Any]:
        """What MLflow is told of it."""
        return {
            "name": self.name.replace(".", "_"),  # MLflow takes no dot there
            "source_run_id": self.runs[0],
            "params": param_texts(self.params),
            "tags": {DIGEST: self.digest, DESCRIPTION: self.about},
            "model_type": KIND,
        }


def log_base(store: Store, made: Made) -> str | None:
    """Keep the record of a base model; versions of one base share it.

    Returns its id; None where an earlier version brought it, with its figures.
    """
    client, facts = store.client, made.facts()
    same = f"tags.`{DIGEST}` = '{made.digest}' and name = '{facts['name']}'"
    known = client.search_logged_models([store.experiment_id], same, max_results=1)
    if known:
        _link(store, made.runs[:-1], known[0].model_id)  # another run came to the same bytes
        return None
    logged = client.create_logged_model(store.experiment_id, **facts)
    client.finalize_logged_model(logged.model_id, "READY")
    _link(store, made.runs[:1], logged.model_id)
    return str(logged.model_id)


def log_model(store: Store, made: Made, library: Path) -> str:
    """Log a package with the folder `library` (minigpt/) as code. Returns the model's id."""
    from mlflow import pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    client = store.client
    logged = client.create_logged_model(store.experiment_id, **made.facts())
    description = Model(
        artifact_path=logged.artifact_location,
        run_id=made.runs[0],
        model_uuid=logged.model_id,
        model_id=logged.model_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        pyfunc.save_model(
            path=str(path),
            mlflow_model=description,
            python_model=str(library / "registry" / "pyfunc_model.py"),
            artifacts={"package": str(made.package)},
            code_paths=[str(library)],
            pip_requirements=pinned(),
            # No inputs: MLflow would make a text of a number, and of nothing the text "None".
            signature=ModelSignature(
                outputs=Schema([ColSpec("string")]),
                params=ParamSchema(
                    [ParamSpec(name, dtype, default) for name, (dtype, default) in PARAMS.items()]
                ),
            ),
            input_example=EXAMPLE,
        )
        client.log_model_artifacts(logged.model_id, str(path))
    client.finalize_logged_model(logged.model_id, "READY")
    _link(store, made.runs, logged.model_id)
    return str(logged.model_id)


def _link(store: Store, runs: Iterable[str], model_id: str) -> None:
    from mlflow.entities import LoggedModelOutput

    for run in runs:
        outputs = store.client.mlflow.get_run(run).outputs
        linked = {output.model_id for output in outputs.model_outputs} if outputs else set()
        if model_id not in linked and is_active(store, run):  # nobody deleted it since
            store.client.log_outputs(run, [LoggedModelOutput(model_id, step=0)])


def log_figures(
    store: Store,
    run_id: str,
    figures: Mapping[str, float],
    models: Mapping[str, str],
    datasets: Mapping[str, str],
) -> None:
    """Record the figures of a version in its run, and each at the model and text that it is of.

    Args:
        store: where the run is.
        run_id: of the registration.
        figures: by name, `evaluate/finetuned/sotu/bits_per_byte`.
        models: beginning of a figure's name (`evaluate/finetuned/`) -> id of the model.
        datasets: name of a dataset (a part of a figure's name) -> its digest.
    """
    from mlflow.entities import Metric

    now, metrics = milliseconds(), []
    for name, value in figures.items():
        model = next((id_ for start, id_ in models.items() if name.startswith(start)), None)
        text = next((part for part in name.split("/") if model and part in datasets), None)
        digest = datasets[text][:DIGEST_LENGTH] if text else None
        key = allowed(name)
        metrics.append(Metric(key, value, now, 0, model, text, digest, run_id if model else None))
    for start in range(0, len(metrics), METRICS_A_CALL):
        store.client.log_batch(run_id, metrics=metrics[start : start + METRICS_A_CALL])


def library_of(root: Path) -> Path:
    """minigpt/ of a checkout; where there is none, the one that is running."""
    own = root / "minigpt"
    return own if own.is_dir() else Path(minigpt.__file__).parent


def pinned() -> list[str]:
    """REQUIREMENTS at the versions that are installed, without a build's local label (+cpu)."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]
