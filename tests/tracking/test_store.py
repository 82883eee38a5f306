import multiprocessing
import os
import random
import re
import shutil
import sqlite3

import pytest
from filelock import FileLock

from minigpt.errors import RegistryError
from minigpt.tracking import store as stores
from minigpt.tracking.mlflow_tracker import MlflowTracker, create_run
from minigpt.tracking.relocate import relocate
from minigpt.tracking.store_errors import NO_ROOM, clear_errors


def open_in_child(root, answers):
    try:
        answers.put(stores.open_store(root).experiment_id)
    except BaseException as error:
        answers.put(repr(error))
        raise


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes start from this one's imports")
def test_four_processes_may_make_one_store_whose_making_was_once_killed(store, tmp_path):
    (tmp_path / "mlflow.db.part").write_bytes(b"torn")
    assert stores.is_new(tmp_path)
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    started = [context.Process(target=open_in_child, args=(tmp_path, answers)) for _ in range(4)]
    for process in started:
        process.start()
    experiments = {answers.get() for _ in started}
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0] * 4
    assert experiments == {stores.open_store(tmp_path).experiment_id}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mlflow.db", "mlruns"]


def test_the_store_lies_where_mlflow_ui_looks(root, store):
    experiment = store.client.get_experiment_by_name("minigpt")
    assert store.uri == f"sqlite:///{root.as_posix()}/mlflow.db"
    assert experiment.artifact_location == (root / "mlruns" / "minigpt").as_uri()
    assert not list((root / "mlruns").glob("[0-9]*"))  # such a folder makes MLflow look elsewhere


def test_the_environment_names_another_store(root, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    assert stores.open_store(tmp_path).uri == f"sqlite:///{root}/mlflow.db"
    assert list(tmp_path.iterdir()) == []


def test_a_locked_store_is_named_at_once(root, monkeypatch):
    monkeypatch.setattr(stores, "BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(root / "mlflow.db")
    try:
        holder.execute("begin exclusive")
        with pytest.raises(RegistryError, match=r"mlflow\.db: database is locked"):
            stores.open_store(root)
    finally:
        holder.rollback()
        holder.close()


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(
        b"not a database, but long enough to look like a header" * 9
    )
    with pytest.raises(RegistryError, match="registry sync"):
        stores.open_store(tmp_path)


def test_a_folder_in_the_place_of_a_store_is_not_said_to_be_held(tmp_path):
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(RegistryError, match=r"unable to open .* make it a file that can be read"):
        stores.open_store(tmp_path)


def test_a_store_of_another_mlflow_is_named_with_both_cures(root, store, tmp_path):
    shutil.copyfile(root / "mlflow.db", tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as tables:
        tables.execute("update alembic_version set version_num = 'ffffffffffff'")
        tables.execute("update experiments set artifact_location = 's3://bucket/runs'")
    with pytest.raises(
        RegistryError, match=r"another MLflow .ffffffffffff.*upgrade.*newer"
    ) as said:
        stores.open_store(tmp_path)
    assert f"'sqlite:///{tmp_path.as_posix()}/mlflow.db'" in str(said.value)


def test_a_server_that_never_answers_is_named(silent, tmp_path):
    with pytest.raises(RegistryError, match=f"{silent} does not answer .*unset MLFLOW_TRACKING"):
        stores.open_store(tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        *("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///runs.db?timeout=5"),
        *("file:runs", "file:///runs", "runs", "/runs"),
    ],
)
def test_a_store_that_would_not_last_is_refused_and_nothing_is_made(address, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for ask in (stores.is_new, stores.open_store):
        with pytest.raises(
            RegistryError, match=r"Write sqlite:////elsewhere/mlflow\.db or"
        ) as said:
            ask(tmp_path)
        assert "\n" not in str(said.value)
    assert list(tmp_path.iterdir()) == []


def test_a_moved_checkout_is_noticed_and_mended(root, store, tmp_path):
    tracker = MlflowTracker(store, create_run(store, "evaluate", {}))
    (root / "note.txt").write_text("kept")
    tracker.artifact(root / "note.txt")
    tracker.close()
    moved = tmp_path / "moved checkout"
    shutil.copytree(root, moved)
    with pytest.raises(RegistryError, match="minigpt registry relocate"):
        stores.open_store(moved)
    assert relocate(moved) > 0
    client = stores.open_store(moved).client
    location = stores.local_path(client.get_run(tracker.run_id).info.artifact_uri)
    assert location.is_relative_to(moved)
    assert (location / "note.txt").read_text() == "kept"
    assert relocate(moved) == 0


def test_a_store_is_not_relocated_while_another_process_opens_it(root, tmp_path, monkeypatch):
    moved = tmp_path / "moved checkout"
    shutil.copytree(root, moved)
    before = (moved / "mlflow.db").read_bytes()
    monkeypatch.setattr(stores, "OPENING_SECONDS", 0.1)
    with (
        FileLock(moved / "mlruns" / ".lock"),
        pytest.raises(RegistryError, match="another process has been opening it"),
    ):
        relocate(moved)
    assert (moved / "mlflow.db").read_bytes() == before


def test_a_password_in_the_address_is_not_shown():
    assert stores.shown("https://me:secret@host:5000/x") == "https://host:5000/x"
    with (
        pytest.raises(RegistryError) as raised,
        clear_errors("https://me:secret@host:5000/"),
    ):
        raise OSError("API request to https://me:secret@host:5000/api failed")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("said", NO_ROOM)
def test_a_full_disk_is_said_whoever_says_it(said):
    with (
        pytest.raises(RegistryError, match="no room is left on its disk; nothing was lost"),
        clear_errors("sqlite:////x/mlflow.db"),
    ):
        raise sqlite3.OperationalError(f"{said} [SQL: INSERT INTO tags]")


def test_an_answer_that_is_json_of_another_form_is_one_line():
    from google.protobuf.json_format import ParseError

    with (
        pytest.raises(RegistryError, match="http://host:5000: Failed to parse"),
        clear_errors("http://host:5000"),
    ):
        raise ParseError("Failed to parse experiment field")


def test_a_server_that_fails_is_told_from_one_that_is_not_there():
    def said(text):
        with pytest.raises(RegistryError) as raised, clear_errors("http://host:5000"):
            raise OSError(f"HTTPConnectionPool: Max retries exceeded (Caused by {text})")
        return str(raised.value)

    assert "cannot be reached" in said("NewConnectionError: no route to host")
    assert "too many 500 error responses" in said("ResponseError: too many 500 error responses")


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_a_folder_whose_path_an_address_cannot_hold_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(RegistryError, match=r"Rename the folder, or name a place"):
        stores.open_store(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert not list((tmp_path / name).iterdir())


def test_a_folder_of_an_odd_name_holds_its_store(tmp_path):
    root = tmp_path / """C# notes, 100% "x" it's"""
    root.mkdir()
    stores.open_store(root)
    assert sorted(path.name for path in root.iterdir()) == ["mlflow.db", "mlruns"]
    assert list(tmp_path.iterdir()) == [root]


def test_what_is_no_address_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://[::bad")
    with pytest.raises(RegistryError, match="MLFLOW_TRACKING_URI is no address: Invalid IPv6 URL"):
        stores.open_store(tmp_path)


@pytest.mark.parametrize(
    "address",
    ["runs", "./mlruns", "file:///runs", "localhost:5000", "sqlite:x.db", "sqlite://x.db"],
)
def test_an_address_that_is_no_store_s_is_refused_with_those_that_are(
    address, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(RegistryError, match=f"MLFLOW_TRACKING_URI={address} .*Write sqlite:////"):
        stores.open_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "address",
    ["sqlite:////folder/x.db", "https://user:secret@host", "mysql+pymysql://host/x", "databricks"],
)
def test_every_kind_of_store_may_be_named(address, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert stores.tracking_uri(tmp_path) == address


def test_a_database_whose_driver_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:secret@127.0.0.1:1/x")
    with pytest.raises(RegistryError, match=r"postgresql://127.0.0.1:1/x: No module named"):
        stores.open_store(tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_a_database_that_something_wrote_into_is_told_by_name(root, store, tmp_path, seed):
    """Some have sqlite3 raise UnicodeDecodeError (0 and 5 here), which is no sqlite3.Error."""
    database, chance = tmp_path / "mlflow.db", random.Random(seed)
    shutil.copy(root / "mlflow.db", database)
    with database.open("r+b") as file:
        for _ in range(200):
            file.seek(chance.randrange(0 if seed % 2 else 4096, database.stat().st_size))
            file.write(chance.randbytes(40))

    def ask():
        opened = stores.open_store(tmp_path)
        with clear_errors(opened.uri):
            opened.client.search_registered_models()
            opened.client.search_runs([opened.experiment_id], "")

    with pytest.raises(RegistryError, match=re.escape(str(database))):
        ask()


def test_a_path_that_alembic_cannot_read_is_told(tmp_path, monkeypatch):
    import mlflow

    monkeypatch.setattr(mlflow, "__path__", ["/home/50 % co/.venv/mlflow"])
    with pytest.raises(RegistryError, match=r"50 % co.*Rename the folder"):
        stores.open_store(tmp_path)
