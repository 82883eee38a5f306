"""A run that would find nothing to do is told from every other, before Prefect is imported."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from minigpt.digest import file_digest
from minigpt.graph import read_graph
from minigpt.registry.config import RegistryParams
from minigpt.registry.versions import Version
from minigpt.tracking import open_journal
from pipelines import settled as module
from pipelines.settled import Settled, settled


def version(number, digest, *aliases):
    return Version(
        name="minigpt", version=number, digest=digest, commit="c" * 40, dirty=False,
        aliases=aliases, bits_per_byte=1.8, created=datetime(2026, 1, 1, tzinfo=UTC), run_id="r",
    )  # fmt: skip


@pytest.fixture
def built(project, monkeypatch):
    """A project as it is after a run; `built.versions` are those of the store."""
    for path in (module.MANIFEST, module.REPORT):
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_text("{}")
    identity = file_digest(project / module.MANIFEST)
    versions = [version("1", "0" * 64), version("2", identity, "challenger", "champion")]
    monkeypatch.setattr(module, "list_versions", lambda *_: versions)
    monkeypatch.setattr(module, "anything_stale", lambda *_: False)
    return project, versions


def test_what_is_built_registered_and_champion_is_settled(built):
    project, _ = built
    stages = len(read_graph(project))
    assert settled(project, RegistryParams()) == Settled(stages, "version 2 is champion")


@pytest.mark.parametrize("file", [module.MANIFEST, module.REPORT])
def test_what_is_not_there_has_to_be_made(built, file):
    project, _ = built
    (project / file).unlink()
    assert settled(project, RegistryParams()) is None


def test_a_run_that_waits_has_to_be_delivered(built, monkeypatch):
    project, _ = built
    monkeypatch.delenv("MINIGPT_PARENT_RUN", raising=False)
    open_journal(project, "pretrain", "pretrain").close()
    assert settled(project, RegistryParams()) is None


def test_a_version_that_is_refused_again_is_settled_and_says_why(built, monkeypatch):
    project, versions = built
    versions[1] = version("2", versions[1].digest, "challenger")
    name = "minigpt.registry.promotion.promote.refused_again"
    monkeypatch.setattr(name, lambda *_: "refused: worse")
    outcome = settled(project, RegistryParams())
    assert (outcome.standing, outcome.refusal) == (
        f"version 2 is {module.REFUSED}",
        "refused: worse",
    )
    monkeypatch.setattr(name, lambda *_: None)  # a promotion would change something
    assert settled(project, RegistryParams()) is None


@pytest.mark.parametrize("aliases", [(), ("champion",)])
def test_a_version_that_a_run_would_change_is_left_to_it(built, aliases):
    project, versions = built
    versions[1] = version("2", versions[1].digest, *aliases)
    assert settled(project, RegistryParams()) is None


def test_what_no_store_has_yet_is_delivered(built):
    project, _ = built
    open_journal(project, "pretrain").close()
    assert settled(project, RegistryParams()) is None


def test_what_is_built_may_be_registered_nowhere(built):
    project, versions = built
    versions[1] = version("2", "1" * 64, "challenger", "champion")
    assert settled(project, RegistryParams()) is None


def test_a_stale_stage_has_to_run(built, monkeypatch):
    project, _ = built
    monkeypatch.setattr(module, "anything_stale", lambda *_: True)
    assert settled(project, RegistryParams()) is None


def test_to_ask_takes_neither_prefect_nor_mlflow_nor_torch():
    code = (
        "import sys, pipelines.run; print(sorted({'prefect', 'mlflow', 'torch'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
