"""Old versions go, with their files; what was champion or is marked stays; a cut is finished."""

import json
import os

import pytest
from typer.testing import CliRunner

from minigpt.cli.main import app
from minigpt.errors import RegistryError
from minigpt.registry import prune as pruning
from minigpt.registry.artifacts import FILES
from minigpt.registry.promotion.promote import promote, rollback
from minigpt.registry.prune import plan_pruning, prune
from minigpt.registry.pruned import pruned_in
from minigpt.registry.refs import find_version, resolve
from minigpt.registry.register import register
from minigpt.registry.registry import Registry
from minigpt.registry.versions import DIGEST, list_versions
from minigpt.tracking.entities import ViewType
from minigpt.tracking.store import local_path
from tests.registry.logs import whole_log
from tests.registry.promotions import GATE, NAME, add_files, take_down

RUNNER = CliRunner()


@pytest.fixture
def add(changed, tmp_path):
    """A function: register a version that has files of its own, and the model of version 1."""

    def add(tuned):
        changed.build(tuned=tuned)
        return add_files(changed, changed.root, tmp_path / "kept").version

    return add


def numbers(registry):
    return [version.version for version in list_versions(registry)]


def size_on_disk(root):
    return sum(path.stat().st_size for path in (root / "mlruns").rglob("*") if path.is_file())


def command(checkout, monkeypatch, *options):
    monkeypatch.chdir(checkout.root)
    monkeypatch.setattr("minigpt.cli.shared.model_name", lambda: NAME)
    return RUNNER.invoke(app, ["registry", "prune", *options], catch_exceptions=False)


def test_nothing_is_changed_unless_asked_for(changed, add, monkeypatch):
    for tuned in (1.7, 1.6):
        add(tuned)
    before = size_on_disk(changed.root), numbers(changed.registry)
    said = command(changed, monkeypatch, "--keep", "1")
    assert (size_on_disk(changed.root), numbers(changed.registry)) == before
    assert whole_log(changed.registry) == []
    assert "would free: 1 version" in said.stdout
    assert "minigpt registry prune --keep 1 --yes" in said.stderr
    assert "stays: 1 (challenger)" in said.stderr


def test_the_bytes_that_it_names_are_freed(changed):
    changed.build(tuned=1.7)
    register(changed.registry)
    changed.build(tuned=1.6)
    register(changed.registry)
    registry, first = changed.registry, find_version(changed.registry, "1")
    plan, before = plan_pruning(registry, 1), size_on_disk(changed.root)
    assert [p.version.version for p in plan.remove] == ["1", "2"]
    # The sizes of the files are those of what is registered: weights, exports and the library.
    assert plan.bytes > 100_000
    done = prune(registry, 1)
    assert done.bytes == plan.bytes == before - size_on_disk(changed.root)
    assert numbers(registry) == ["3"]
    runs = registry.store.client.search_runs(
        [registry.store.experiment_id], run_view_type=ViewType.DELETED_ONLY
    )
    assert first.run_id in {run.info.run_id for run in runs}
    assert resolve(registry, "3").is_dir()
    assert [(e.kind, e.version) for e in whole_log(registry)] == [("pruned", "1"), ("pruned", "2")]
    with pytest.raises(RegistryError, match=rf"{NAME} 1 was pruned on \d{{4}}-\d\d-\d\d by .*log"):
        find_version(registry, "1")
    changed.build(tuned=1.5)
    assert register(registry).version == "4"
    assert plan_pruning(registry, 2).remove == ()


@pytest.mark.usefixtures("gate_by_figure")
def test_champions_of_all_times_challenger_and_what_was_taken_down_stay(changed, add):
    registry = changed.registry
    for tuned in (1.7, 1.65, 1.6, 1.55, 1.5):
        add(tuned)
    for number, bits in zip("23456", (1.7, 1.65, 1.6, 1.55, 1.5), strict=True):
        registry.store.client.set_model_version_tag(
            NAME, number, "minigpt.bits_per_byte", str(bits)
        )
    promote(registry, "2", GATE)
    promote(registry, "3", GATE)
    rollback(registry)
    take_down(changed, "4")
    stays = {version.version: why for version, why in plan_pruning(registry, 1).stay}
    assert stays == {
        "1": "challenger", "2": "champion", "3": "was champion", "4": "taken down",
        "6": "one of the newest 1",
    }  # fmt: skip
    prune(registry, 1)
    assert numbers(registry) == ["1", "2", "3", "4", "6"]
    assert rollback(registry, to="3").moved


def test_files_that_another_version_has_too_stay(changed, add_version, add):
    registry = changed.registry
    add(1.7)
    client, first = registry.store.client, find_version(registry, "1")
    source = client.get_model_version_download_uri(NAME, "1")
    client.create_model_version(
        NAME, source, first.run_id, tags={DIGEST: first.digest}, model_id=source.split("/")[-2]
    )  # it has run and model of version 1
    registry.store.client.set_registered_model_alias(NAME, "challenger", "2")
    before = size_on_disk(changed.root)
    done = prune(registry, 1)
    assert [(p.version.version, p.bytes) for p in done.remove] == [("1", 0)]
    assert size_on_disk(changed.root) == before
    assert resolve(registry, "3").is_dir()


class KilledError(BaseException):
    """Stands for a kill: nothing handles it."""


@pytest.mark.parametrize("at", ["note_pruned", "_free", "rmtree", "freed"])
def test_cut_off_anywhere_the_same_again_finishes(changed, add, monkeypatch, at):
    for tuned in (1.7, 1.6, 1.5):
        add(tuned)
    registry = changed.registry
    run = find_version(registry, "2").run_id

    def killed(*arguments, **options):
        raise KilledError

    with monkeypatch.context() as patch:
        if at == "rmtree":
            patch.setattr(pruning.shutil, "rmtree", lambda folder, **_: remove_one(folder))
        elif at == "freed":
            note = pruning.note_pruned
            patch.setattr(pruning, "note_pruned", lambda *a: killed() if a[-1].freed else note(*a))
        else:
            patch.setattr(pruning, at, killed)
        with pytest.raises(KilledError):
            prune(registry, 1)
    if at in ("_free", "rmtree"):
        assert plan_pruning(registry, 1).unfinished == ("2",)
        assert plan_pruning(registry, 1).unfinished_bytes > 0
    again = Registry(changed.root, NAME)
    prune(again, 1)
    assert numbers(again) == ["1", "4"]
    assert not (changed.root / "mlruns/minigpt" / run).exists()
    assert [(e.kind, e.version) for e in whole_log(again)] == [("pruned", "2"), ("pruned", "3")]
    assert {n: p.freed for n, p in pruned_in(again, NAME).items()} == {"2": True, "3": True}
    assert prune(again, 1).bytes == 0


def remove_one(folder):
    """As a removal that is killed in its middle."""
    next(path for path in sorted(folder.rglob("*")) if path.is_file()).unlink()
    raise KilledError


def test_a_file_that_cannot_be_removed_is_named_and_the_rest_goes_another_time(
    changed, add, monkeypatch
):
    for tuned in (1.7, 1.6):
        add(tuned)

    def refuse(folder, **options):
        raise PermissionError(13, os.strerror(13), str(folder / "weights"))

    with monkeypatch.context() as patch:
        patch.setattr(pruning.shutil, "rmtree", refuse)
        with pytest.raises(RegistryError, match="weights: Permission denied; version 2 is del"):
            prune(changed.registry, 1)
    assert plan_pruning(changed.registry, 1).unfinished == ("2",)
    assert command(changed, monkeypatch, "--keep", "1").stdout.startswith("version")
    prune(changed.registry, 1)
    assert plan_pruning(changed.registry, 1).unfinished == ()


@pytest.mark.usefixtures("gate_by_figure")
def test_a_log_that_is_not_whole_says_nothing_about_who_was_champion(changed, add):
    promote(changed.registry, "1", GATE)
    for tuned in (1.7, 1.6):
        add(tuned)
    [event] = whole_log(changed.registry)
    changed.registry.store.client.delete_run(event.run_id)
    with pytest.raises(RegistryError, match=r"not whole.*Nothing was changed"):
        prune(changed.registry, 1)
    assert numbers(changed.registry) == ["1", "2", "3"]


def test_json_says_what_was_done(changed, add, monkeypatch):
    for tuned in (1.7, 1.6):
        add(tuned)
    said = json.loads(command(changed, monkeypatch, "--keep", "1", "--json").stdout)
    assert (said["done"], [v["version"] for v in said["remove"]]) == (False, ["2"])
    did = json.loads(command(changed, monkeypatch, "--keep", "1", "--yes", "--json").stdout)
    assert did == said | {"done": True}
    assert numbers(changed.registry) == ["1", "3"]


def test_nothing_to_do_is_said_and_at_least_one_stays(changed, monkeypatch):
    assert "no version of" in command(changed, monkeypatch, "--keep", "3").stdout
    assert command(changed, monkeypatch, "--keep", "0").exit_code == 2


def test_no_store_is_made_by_asking(checkout, monkeypatch):
    assert plan_pruning(checkout.registry, 1).remove == ()
    assert prune(checkout.registry, 1).remove == ()
    assert not (checkout.root / "mlflow.db").exists()


def test_of_a_server_its_own_collection_is_named(changed, add, monkeypatch):
    for tuned in (1.7, 1.6):
        add(tuned)
    version, before = find_version(changed.registry, "2"), size_on_disk(changed.root)
    monkeypatch.setattr(pruning, "database_of", lambda uri: None)  # as that of a server
    [prunable] = plan_pruning(changed.registry, 1).remove
    assert prunable.bytes > 0  # by the list of its files
    said = command(changed, monkeypatch, "--keep", "1", "--yes")
    assert f"mlflow gc --run-ids {version.run_id}" in said.stderr
    assert size_on_disk(changed.root) == before
    assert numbers(changed.registry) == ["1", "3"]


def test_a_damaged_list_of_files_hinders_nobody_from_pruning(changed, add, monkeypatch):
    for tuned in (1.7, 1.6):
        add(tuned)
    artifacts = changed.registry.artifacts_uri(find_version(changed.registry, "2").run_id)
    monkeypatch.setattr(pruning, "database_of", lambda uri: None)  # as that of a server
    (local_path(artifacts) / FILES).write_text('{"files": [{}]}')
    [prunable] = plan_pruning(changed.registry, 1).remove
    assert prunable.bytes == 0
