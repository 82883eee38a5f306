"""A plugin of MLflow's: `mlflow models serve` and `predict` in the environment they are called in.

By default both make a new one with pyenv, `predict` with a Python that it compiles, also where all
that the model asks for is installed. No setting of MLflow's or of a model's says otherwise, so the
option gets another default here. What a person gives with `--env-manager` stands.

This is no part of minigpt/: MLflow imports it with itself, and a version brings its own minigpt/,
which one that is imported already would hide.
"""

import os
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import click
from mlflow.utils import cli_args, env_manager
from packaging.requirements import InvalidRequirement, Requirement

HELP = """
The environment that the model runs in.

\b
- local: this one
- virtualenv: a new one, by venv and pyenv
- uv: a new one, by uv
- conda: a new one, by conda

If unspecified: local where this environment has what the model requires, in these versions; else
virtualenv.
"""


class Plugin:
    """What MLflow looks for at the entry point: here it names no experiment."""

    def in_context(self) -> bool:
        """Whether it has something to say."""
        return False


def default_manager() -> str:
    """`local` where a model that is to be served, or to predict, finds all it needs here."""
    context = click.get_current_context()
    model = context.params.get("model_uri")
    if context.info_name not in ("serve", "predict") or not model or not runs_here(model):
        return str(env_manager.VIRTUALENV)
    return str(env_manager.LOCAL)


@cache
def runs_here(model: str) -> bool:
    """Whether this environment has the model's Python and every package that it requires."""
    import logging

    from mlflow.exceptions import MlflowException
    from mlflow.models import Model
    from mlflow.pyfunc import FLAVOR_NAME, PY_VERSION, get_model_dependencies

    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)  # it would say how to install them
    try:
        python = Model.load(model).flavors[FLAVOR_NAME][PY_VERSION]
        file = Path(get_model_dependencies(model))
        lines = file.read_text(encoding="utf-8").splitlines()
        required = [Requirement(line) for line in lines if line.strip()]
        missing = [str(r) for r in required if not r.specifier.contains(metadata.version(r.name))]
    except (MlflowException, OSError, KeyError, InvalidRequirement, metadata.PackageNotFoundError):
        return False  # MLflow itself says what is wrong with a model
    if missing or python.split(".")[:2] != [str(part) for part in sys.version_info[:2]]:
        return False
    click.echo(f"{model} runs in this environment, which has what it requires.", err=True)
    # MLflow starts uvicorn by its name, which is not found where the environment is not activated.
    here = str(Path(sys.executable).parent)
    os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", os.defpath)])
    return True


cli_args.ENV_MANAGER = cli_args._create_env_manager_option(HELP, default=default_manager)
