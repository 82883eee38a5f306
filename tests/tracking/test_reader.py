"""What the tables' reader answers is what MlflowClient answers; all else is left to MLflow."""

import dataclasses
import math
import sqlite3
import subprocess
import sys

import pytest

from minigpt.errors import RegistryError
from minigpt.tracking import reader as tables
from minigpt.tracking import store as stores
from minigpt.tracking.entities import Experiment, ModelVersion, RegisteredModel, Run, ViewType
from minigpt.tracking.filters import UnansweredError
from minigpt.tracking.reader import Reader
from minigpt.tracking.store_errors import clear_errors

MODELS = ("minigpt", "letters", "ünïcode-模型", "empty")
MANY = 1203
FILTERS = (
    "",
    "attributes.status = 'FINISHED'",
    "attributes.status = 'RUNNING'",
    "params.name = 'minigpt'",
    "params.name = 'nobody'",
    "params.`learning rate` = '0.1'",
    "tags.`minigpt.stage` = 'pretrain'",
    "tags.`minigpt.stage` = 'pretrain' and tags.`minigpt.output_digest` = '3' "
    "and attributes.status = 'FINISHED'",
    "tags.`minigpt.stage` = 'pretrain' and attributes.start_time <= 1500",
    "tags.`minigpt.stage` = 'länge, “and” so on'",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store that MLflow itself has made and filled, its client beside our reader."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        store = stores.open_store(root)
    mlflow = store.client.mlflow
    other = mlflow.create_experiment("minigpt-log", (root / "with blank %41").as_uri())
    mlflow.delete_experiment(mlflow.create_experiment("deleted"))
    parent = mlflow.create_run(store.experiment_id, 1000, run_name="pipeline").info.run_id
    for number in range(12):
        tags = {"minigpt.stage": "pretrain", "mlflow.parentRunId": parent}
        tags |= {"minigpt.output_digest": str(number % 5)}
        # Two begin in the same millisecond.
        run = mlflow.create_run(store.experiment_id, 1000 + number // 2 * 200, tags).info.run_id
        mlflow.log_metric(run, "loss", float(number), step=number)
        mlflow.log_metric(
            run, "loss", math.nan if number == 3 else 1 / (number + 1), step=number + 1
        )
        mlflow.log_metric(run, "größte", -math.inf)
        mlflow.log_param(run, "learning rate", "0.1" if number % 2 else "0,1 “ 'quoted' ")
        if number != 5:
            mlflow.set_terminated(
                run, "FAILED" if number == 4 else "FINISHED", end_time=9000 + number
            )
        if number in (6, 7):
            mlflow.delete_run(run)
    named = mlflow.create_run(store.experiment_id, 500, {"minigpt.stage": "länge, “and” so on"})
    mlflow.set_tag(named.info.run_id, "minigpt.note", "")
    for number in range(5):
        run = mlflow.create_run(other, 100 + number).info.run_id
        mlflow.log_param(run, "name", MODELS[number % 2])
    fill_registry(mlflow, parent)
    many_versions(store)
    return store


def fill_registry(mlflow, run_id):
    for name in MODELS:
        mlflow.create_registered_model(name, {"minigpt.log_head": "é", "n": ""}, f"about {name}")
    mlflow.create_registered_model("no-tags")
    for number in range(1, 8):
        tags = {"minigpt.manifest_digest": "ab" * 32, "bits": str(number), "empty": ""}
        mlflow.create_model_version(
            "minigpt", f"file:///models/{number}", run_id if number % 2 else None, tags,
            description="ein Modell" if number == 2 else None,
        )  # fmt: skip
    mlflow.create_model_version("ünïcode-模型", "file:///über/1")
    mlflow.create_model_version("letters", "file:///letters/1", run_id)
    mlflow.set_registered_model_alias("minigpt", "champion", "2")
    mlflow.set_registered_model_alias("minigpt", "challenger", "4")
    mlflow.set_registered_model_alias("minigpt", "gone", "5")
    mlflow.set_registered_model_alias("ünïcode-模型", "champion", "1")
    mlflow.delete_model_version("minigpt", "5")
    mlflow.delete_model_version("minigpt", "7")
    mlflow.set_model_version_tag("minigpt", "1", "minigpt.verified", '{"at": "später"}')
    mlflow.delete_model_version_tag("minigpt", "3", "bits")
    mlflow.register_prompt("greeting", "Hello {{name}}")


def many_versions(store):
    """More than MLflow gives in a page; through SQL, which is a thousand times quicker."""
    store.client.mlflow.create_registered_model("crowd")
    rows = [
        ("crowd", n, 1000 + n % 7, 2000 + n % 5, "None", f"file:///{n}") for n in range(1, MANY)
    ]
    with sqlite3.connect(stores.database_of(store.uri)) as connection:
        connection.executemany(
            "insert into model_versions (name, version, creation_time, last_updated_time, "
            "current_stage, source) values (?, ?, ?, ?, ?, ?)",
            rows,
        )
        connection.executemany(
            "insert into model_version_tags (name, version, key, value) values (?, ?, ?, ?)",
            [("crowd", n, "n", str(n)) for n in range(1, MANY)],
        )
        connection.executemany(
            "insert into registered_models (name, creation_time) values (?, 1)",
            [(f"name {n:03}",) for n in range(130)],
        )


def plain(entity):
    """An entity of ours or of MLflow's as plain values, by the fields that ours have."""
    if isinstance(entity, list | tuple):
        return [plain(item) for item in entity]
    kinds = (Experiment, Run, ModelVersion, RegisteredModel)
    kind = next((k for k in kinds if type(entity).__name__ == k.__name__), None)
    if kind is Run:
        values = as_fields(entity.info, tables.RunInfo) | as_fields(entity.data, tables.RunData)
    else:
        values = as_fields(entity, kind) if kind else entity
    return repr(values)  # NaN is not equal to itself


def as_fields(entity, kind):
    values = {f.name: getattr(entity, f.name) for f in dataclasses.fields(kind)}
    return {k: dict(sorted(v.items())) if isinstance(v, dict) else v for k, v in values.items()}


def both(store, method, *arguments, **options):
    """The answer of the reader and MLflow's; a page as (entities, token)."""
    reader = Reader(stores.database_of(store.uri))
    answers = [
        getattr(asked, method)(*arguments, **options) for asked in (reader, store.client.mlflow)
    ]
    ours, theirs = [(plain(a), getattr(a, "token", None) or None) for a in answers]
    return ours, theirs


def pages(asked, method, *arguments, **options):
    """Everything, page by page."""
    token, entities = None, []
    while True:
        page = getattr(asked, method)(*arguments, page_token=token, **options)
        entities += plain(page)
        token = page.token
        if not token:
            return entities


def test_the_tables_are_those_that_mlflow_of_the_lock_makes(store):
    assert Reader(stores.database_of(store.uri)).knows()


@pytest.mark.parametrize("name", ["minigpt", "minigpt-log", "deleted", "Default", "nobody"])
def test_experiments_are_mlflows(store, name):
    ours, theirs = both(store, "get_experiment_by_name", name)
    assert ours == theirs


@pytest.mark.parametrize("view", list(ViewType))
@pytest.mark.parametrize("text", FILTERS)
def test_searched_runs_are_mlflows_in_their_order(store, text, view):
    log = store.client.get_experiment_by_name("minigpt-log").experiment_id
    for ids in ([store.experiment_id], [log], [store.experiment_id, log]):
        for order in (None, ["attributes.start_time DESC"], ["start_time ASC"]):
            for size in (1, 5, 1000):
                options = {"run_view_type": int(view), "max_results": size, "order_by": order}
                ours, theirs = both(store, "search_runs", ids, text, **options)
                assert ours == theirs


def test_each_run_is_mlflows(store):
    runs = store.client.search_runs([store.experiment_id], run_view_type=ViewType.ALL)
    assert len(runs) == 14
    for run in runs:
        ours, theirs = both(store, "get_run", run.info.run_id)
        assert ours == theirs
    assert any("nan" in plain(run) for run in runs)


@pytest.mark.parametrize("name", [*MODELS, "greeting", "crowd", "nobody"])
def test_searched_versions_are_mlflows_in_their_order(store, name):
    ours, theirs = both(store, "search_model_versions", f"name = '{name}'")
    assert ours == theirs
    if name == "crowd":
        assert len(ours[0]) == MANY - 1


@pytest.mark.parametrize("text", ["", "name = 'crowd'"])
@pytest.mark.parametrize("order", [None, ["name ASC", "version_number ASC"]])
def test_versions_of_all_names_and_by_number_are_mlflows(store, text, order):
    ours, theirs = both(store, "search_model_versions", text, order_by=order)
    assert ours == theirs
    assert len(ours[0]) >= MANY - 1


def test_one_version_is_mlflows(store):
    for version in store.client.search_model_versions("name = 'minigpt'"):
        ours, theirs = both(store, "get_model_version", "minigpt", str(version.version))
        assert ours == theirs


def test_pages_are_mlflows(store):
    reader = Reader(stores.database_of(store.uri))
    for asked in (
        ("search_model_versions", "name = 'crowd'", {"max_results": 500}),
        ("search_runs", [store.experiment_id], {"max_results": 3, "run_view_type": ViewType.ALL}),
        ("search_registered_models", None, {"max_results": 50}),
        ("search_registered_models", None, {}),
    ):
        method, what, options = asked
        ours = pages(reader, method, what, **options)
        assert ours == pages(store.client.mlflow, method, what, **options)
        assert len(ours) > options.get("max_results", 100)
    token = reader.search_registered_models(max_results=7).token
    both_ways = both(store, "search_registered_models", max_results=9, page_token=token)
    assert both_ways[0] == both_ways[1]


@pytest.mark.parametrize("name", [*MODELS, "no-tags", "crowd"])
def test_registered_models_are_mlflows(store, name):
    ours, theirs = both(store, "get_registered_model", name)
    assert ours == theirs


@pytest.mark.parametrize("version", ["1", "2", "6", 4])
def test_places_of_files_are_mlflows(store, version):
    ours, theirs = both(store, "get_model_version_download_uri", "minigpt", version)
    assert ours == theirs


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("get_run", ["0" * 32]),
        ("get_registered_model", ["nobody"]),
        ("get_registered_model", ["greeting"]),
        ("get_model_version_download_uri", ["minigpt", "5"]),
        ("get_model_version_download_uri", ["minigpt", "99"]),
        ("search_runs", [["1"], "metrics.loss < 1"]),
        ("search_runs", [["1"], "attributes.status != 'FINISHED'"]),
        ("search_runs", [["1"], "tags.a = 'b' or tags.a = 'c'"]),
        ("search_runs", [["1"], "tags.a = 'b' and "]),
        ("search_runs", [["1"], 'tags.a = "b"']),
        ("search_runs", [["1"], "attributes.start_time <= '5'"]),
        ("search_runs", [["1"], "", 1, 10, ["metrics.loss ASC"]]),
        ("search_runs", [["1"], "", 1, 0]),
        ("search_model_versions", ["run_id = 'x'"]),
        ("search_model_versions", ["name = 'a''b'"]),
        ("search_model_versions", ["name = 'minigpt'", 200_001]),
        ("search_registered_models", ["name = 'minigpt'"]),
    ],
)
def test_what_the_reader_does_not_know_is_asked_of_mlflow(store, monkeypatch, method, arguments):
    reader = Reader(stores.database_of(store.uri))
    with pytest.raises(UnansweredError):
        getattr(reader, method)(*arguments)
    asked = []
    monkeypatch.setattr(store.client.mlflow, method, lambda *a, **o: asked.append((a, o)))
    getattr(store.client, method)(*arguments)
    assert asked == [(tuple(arguments), {})]


def test_tables_of_another_revision_are_read_by_mlflow_alone(store, tmp_path, monkeypatch):
    database = tmp_path / "mlflow.db"
    database.write_bytes(stores.database_of(store.uri).read_bytes())
    stores.artifacts_of(database).mkdir(parents=True)
    with sqlite3.connect(database) as connection:
        connection.execute("update experiments set artifact_location = ''")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert "mlflow" not in vars(stores.open_store(tmp_path).client)  # known: not yet connected
    # MLflow of our lock would refuse another revision; to it, these are its own tables.
    monkeypatch.setattr(tables, "REVISION", "another")
    client = stores.open_store(tmp_path).client
    asked = []
    monkeypatch.setattr(client.mlflow, "get_run", asked.append)
    client.get_run("a run")
    assert asked == ["a run"]


def test_workspaces_are_left_to_mlflow(store, monkeypatch):
    database = stores.database_of(store.uri)
    assert stores._readable(store.uri, database)
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    assert stores._readable(store.uri, database) is None


def test_reading_leaves_a_write_protected_store_alone(store, tmp_path, monkeypatch):
    database = tmp_path / "mlflow.db"
    database.write_bytes(stores.database_of(store.uri).read_bytes())
    with sqlite3.connect(database) as connection:
        connection.execute("update experiments set artifact_location = ''")
    database.chmod(0o444)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert stores.open_store(tmp_path).client.search_model_versions("name = 'letters'")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlflow.db"]


def test_a_torn_store_is_one_line_of_ours(store, monkeypatch):
    monkeypatch.setattr(Reader, "get_run", lambda *_: sqlite3.connect(":memory:").execute("torn"))
    with pytest.raises(RegistryError, match="syntax error"), clear_errors(store.uri):
        store.client.get_run("a run")


def test_reading_does_not_import_mlflow(store, tmp_path):
    root = stores.database_of(store.uri).parent
    code = (
        "import sys; from pathlib import Path; from minigpt.tracking.store import open_store\n"
        f"client = open_store(Path({str(root)!r})).client\n"
        "assert client.search_model_versions(\"name = 'minigpt'\")\n"
        "assert client.search_runs(['1'])\n"
        "assert client.get_registered_model('minigpt').aliases\n"
        "print(sorted({'mlflow', 'sqlalchemy', 'filelock'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
