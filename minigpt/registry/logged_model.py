"""The MLflow model of a version: the fine-tuned package with the library that reads it.

It is logged from code, without a pickle, so it loads where the checkout is not.
"""

import tempfile
from importlib import metadata
from pathlib import Path

import minigpt
from minigpt.tracking.store import Store

REQUIREMENTS = (  # what loading and generating import
    "mlflow", "numpy", "psutil", "pydantic", "pyyaml", "safetensors", "tiktoken", "torch",
)  # fmt: skip

PARAMS = {  # name: (MLflow type, default) of what `predict` takes beside the texts
    "max_tokens": ("long", 200),
    "temperature": ("double", 0.8),
    "top_k": ("long", 50),
    "top_p": ("double", 0.95),
    "seed": ("long", 0),
}


def log_model(store: Store, run_id: str, package: Path, library: Path) -> str:
    """Log `package` with the folder `library` (minigpt/) as code. Returns the model's id."""
    from mlflow import pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model
    from mlflow.types import ParamSchema, ParamSpec

    client = store.client
    logged = client.create_logged_model(
        store.experiment_id, name="model", source_run_id=run_id, model_type="text-generation"
    )
    description = Model(
        artifact_path=logged.artifact_location,
        run_id=run_id,
        model_uuid=logged.model_id,
        model_id=logged.model_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        pyfunc.save_model(
            path=str(path),
            mlflow_model=description,
            python_model=str(library / "registry" / "pyfunc_model.py"),
            artifacts={"package": str(package)},
            code_paths=[str(library)],
            pip_requirements=pinned(),
        )
        # Type hints give inputs and outputs; without a schema, MLflow would drop the params.
        description.signature.params = ParamSchema(
            [ParamSpec(name, dtype, default) for name, (dtype, default) in PARAMS.items()]
        )
        description.save(str(path / "MLmodel"))
        client.log_model_artifacts(logged.model_id, str(path))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    return str(logged.model_id)


def library_of(root: Path) -> Path:
    """minigpt/ of a checkout; where there is none, the one that is running."""
    own = root / "minigpt"
    return own if own.is_dir() else Path(minigpt.__file__).parent


def pinned() -> list[str]:
    """REQUIREMENTS at the versions that are installed, without a build's local label (+cpu)."""
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]
