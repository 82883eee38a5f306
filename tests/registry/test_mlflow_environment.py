"""In which environment MLflow runs a version, and what a version requires of one."""

import os
import shutil
import subprocess
import sys

import pytest
from click.testing import CliRunner

from minigpt.registry.logged_model import REQUIREMENTS
from minigpt.registry.versions import list_versions
from minigpt.tracking.store import local_path
from tests.registry.checkout import NAME

ONLY_REQUIRED = """
import sys
from importlib import metadata
from importlib.machinery import PathFinder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

folder, *waiting = sys.argv[1:]
required = set()
while waiting:
    name = canonicalize_name(waiting.pop())
    if name not in required:
        required.add(name)
        needs = map(Requirement, metadata.requires(name) or [])
        waiting += [r.name for r in needs if not r.marker or r.marker.evaluate({"extra": ""})]
owners = metadata.packages_distributions()


class Only(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target)
        dists = {canonicalize_name(d) for d in owners.get(name.partition(".")[0], ())}
        installed = spec and "site-packages" in str(spec.origin)
        return None if installed and dists and not dists & required else spec


finders = [finder for finder in sys.meta_path if "editable" not in str(finder)]
sys.meta_path[:] = [Only if finder is PathFinder else finder for finder in finders]
import mlflow.pyfunc.scoring_server
import uvicorn

model = mlflow.pyfunc.load_model(folder)
mlflow.pyfunc.scoring_server.init(model)
print(len(model.predict(["To be"], params={"max_tokens": 3})))
"""


@pytest.fixture
def folder(registered, tmp_path):
    """A copy of the version's model, as MLflow keeps it."""
    [version] = list_versions(registered.registry)
    source = registered.registry.store.client.get_model_version_download_uri(NAME, version.version)
    shutil.copytree(local_path(source), tmp_path / "model")
    return tmp_path / "model"


def test_what_is_required_is_all_that_a_server_imports(folder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", ONLY_REQUIRED, str(folder), *REQUIREMENTS],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1:] == ["1"], done.stderr


def manager_of(monkeypatch, model, *options, command="serve"):
    """The environment manager that the command hands to MLflow's backend."""
    from mlflow.models import cli

    chosen = []
    monkeypatch.setenv("PATH", os.environ["PATH"])  # what the plugin puts in front goes again
    monkeypatch.setattr(cli, "get_flavor_backend", lambda _, **kw: chosen.append(kw["env_manager"]))
    CliRunner().invoke(cli.commands, [command, "-m", str(model), *options])
    return chosen


def test_an_environment_is_made_where_this_one_has_not_what_the_model_requires(folder, monkeypatch):
    copies = {name: folder.with_name(name) for name in ("same", "torch", "python", "strange")}
    for copy in copies.values():
        shutil.copytree(folder, copy)
    required = (folder / "requirements.txt").read_text()
    (copies["torch"] / "requirements.txt").write_text(required.replace("torch==", "torch==1"))
    (copies["strange"] / "requirements.txt").write_text(f"{required}\nminigpt-never-installed")
    description = copies["python"] / "MLmodel"
    description.write_text(
        description.read_text().replace("python_version: 3", "python_version: 2")
    )
    assert manager_of(monkeypatch, copies["same"]) == ["local"]
    for name in ("torch", "python", "strange"):
        assert manager_of(monkeypatch, copies[name]) == ["virtualenv"]
    assert manager_of(monkeypatch, folder.with_name("gone")) == ["virtualenv"]
    assert manager_of(monkeypatch, copies["same"], command="prepare-env") == ["virtualenv"]


def test_the_manager_that_a_person_names_stands(folder, monkeypatch):
    for name in ("virtualenv", "uv", "local"):
        assert manager_of(monkeypatch, folder, "--env-manager", name) == [name]
