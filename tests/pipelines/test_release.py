"""What `make run` refuses before it starts anything."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from prefect import tags
from prefect.context import TagsContext
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from minigpt.errors import MiniGPTError
from minigpt.params import Params
from minigpt.process import workspace_lock
from minigpt.registry.config import RegistryParams
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.promotion.promote import Promotion
from pipelines import api_url, release, run, server, sweep
from pipelines.preflight import check_environment
from pipelines.release import judged
from pipelines.run import main
from pipelines.services import BEATS, HEARTBEAT_SECONDS


@pytest.fixture
def inside(project, monkeypatch):
    monkeypatch.chdir(project)
    return project


def test_bad_params_are_two_lines_and_exit_2(inside, capsys):
    (inside / "params.yaml").write_text("seed: x\nmodel: {n_layerz: 3}\n")
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert sorted(line.split(":")[1] for line in said.err.splitlines()) == [
        " model.n_layerz",
        " seed",
    ]
    assert not (inside / ".prefect").exists()


def test_a_checkout_without_git_is_refused(inside, capsys):
    shutil.rmtree(inside / ".git")
    assert main([]) == 2
    assert "is not a git checkout" in capsys.readouterr().err


def test_a_second_run_is_refused_and_the_first_named(inside, capsys, monkeypatch):
    with workspace_lock(inside):
        monkeypatch.delenv("MINIGPT_WORKSPACE_LOCK")
        assert main([]) == 1
        monkeypatch.setenv("MINIGPT_WORKSPACE_LOCK", "")
    said = capsys.readouterr().err
    assert f"pid {os.getpid()}" in said
    assert "WAIT=1 make run" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MINIGPT_THREADS", "abc"),
        ("MINIGPT_THREAD", "2"),
        ("MINIGPT_DEVICE", "mps"),
        ("WORLD_SIZE", "abc"),
        ("MINIGPT_KEY", "/no/such/key.pem"),
        ("MLFLOW_TRACKING_URI", "localhost:5000"),
    ],
)
def test_what_the_end_of_a_run_would_refuse_is_refused_before_it_starts(
    name, value, project, monkeypatch
):
    """A key or a store that cannot be used was told of after all stages had run."""
    monkeypatch.setenv(name, value)
    with pytest.raises(MiniGPTError, match=name):
        check_environment(project)
    monkeypatch.setattr(run, "load_params", lambda *_: Params())
    monkeypatch.setattr(run, "settled", lambda *_: None)
    with pytest.raises(MiniGPTError, match=name):
        run.run(project, wait=False, debug=False)
    assert not (project / ".prefect").exists()


def test_a_setting_of_prefect_that_is_none_is_one_line():
    code = (
        "import sys; from pathlib import Path; from pipelines import preflight, terminal\n"
        "sys.exit(terminal.ended(lambda: preflight.check_environment(Path()), ''))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "foo"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "LoggingSettings level: Input should be" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["foo", "http://127.0.0.1:abc/api"])
def test_what_is_no_address_of_a_server_is_named_at_once(url, inside):
    missing = re.escape(f"no Prefect server answers at {url}. Start it, or unset PREFECT_API_URL")
    with temporary_settings({PREFECT_API_URL: url}), pytest.raises(MiniGPTError, match=missing):
        server.start_server(inside)()


def test_a_folder_that_prefect_cannot_have_is_named(inside, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(inside / "params.yaml" / "home"))
    with (
        temporary_settings({PREFECT_API_URL: None}),
        pytest.raises(MiniGPTError, match=r"params\.yaml/home: Prefect's folder cannot be made"),
    ):
        server.start_server(inside)


def test_a_configured_server_that_does_not_answer_is_named(inside, monkeypatch):
    monkeypatch.setattr(server, "ANSWER_SECONDS", 0.2)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(
            MiniGPTError, match=r"no Prefect server answers at http://127\.0\.0\.1:9/api"
        ),
    ):
        server.start_server(inside)()


def test_an_address_that_a_killed_make_up_left_behind_is_passed_over(inside, monkeypatch):
    used, url = {}, "http://127.0.0.1:9/api"
    api_url.publish(inside, url)
    monkeypatch.setattr(server, "use", used.update)
    monkeypatch.setattr(server, "tied", lambda *_, **__: contextlib.nullcontext())
    with temporary_settings({PREFECT_API_URL: url}):
        server.start_server(inside)
    assert used[PREFECT_API_URL] != url


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", ""])
def test_a_run_beats_as_often_as_it_is_listened_to_on_any_server(url, inside, monkeypatch):
    used = {}
    monkeypatch.setattr(server, "use", used.update)
    monkeypatch.setattr(server, "tied", lambda *_, **__: contextlib.nullcontext())
    with temporary_settings({PREFECT_API_URL: url or None}):
        server.start_server(inside)
    assert used[PREFECT_FLOWS_HEARTBEAT_FREQUENCY] == HEARTBEAT_SECONDS


@pytest.mark.parametrize(
    ("module", "function", "flow", "options"),
    [
        (release, "run_flow", "release", (False, True)),
        (
            sweep,
            "run",
            "sweep",
            (SimpleNamespace(overrides=[], until="", figure="", wait=False, debug=True),),
        ),
    ],
)
def test_a_run_by_hand_says_that_it_beats(module, function, flow, options, inside, monkeypatch):
    def seen(*_, **__):
        raise MiniGPTError(" ".join(TagsContext.get().current_tags))

    for name in ("load_params", "open_store", "combinations", "check_figure"):
        monkeypatch.setattr(module, name, lambda *_: None, raising=False)
    monkeypatch.setattr(module, "start_server", lambda _: lambda: None)
    monkeypatch.setattr(module, flow, seen)
    with pytest.raises(MiniGPTError, match=BEATS):
        getattr(module, function)(inside, *options)


def test_the_stages_of_a_release_are_tasks_of_its_run_and_carry_no_tags(inside, monkeypatch):
    """One run, one log: what a nightly run says is not in a run below it (docs/decisions/0032)."""

    def seen(*_):
        raise MiniGPTError(f"called with {TagsContext.get().current_tags}")

    monkeypatch.setattr(release, "load_params", lambda *_: None)
    monkeypatch.setattr(release, "parent_run", lambda _: contextlib.nullcontext((None, False)))
    monkeypatch.setattr(release, "bring_stages_up_to_date", seen)
    with tags(BEATS), pytest.raises(MiniGPTError, match=r"called with set\(\)"):
        release.release.fn.__wrapped__()


@pytest.mark.parametrize(
    ("before", "said"),
    [
        (None, "champion (the first of its name; it meets the absolute conditions)"),
        ("1", "champion (in place of version 1; plays 1.78 against 1.86 bits per byte: better)"),
    ],
)
def test_a_new_champion_is_shown_beside_the_one_before(before, said, tmp_path, monkeypatch):
    compared = Condition("plays", "1.78 against 1.86 bits per byte: better", True)
    conditions = (Condition("export onnx", "logits within 2e-05", True), compared)
    done = Promotion(None, before, True, False, conditions)
    monkeypatch.setattr("minigpt.registry.promotion.promote.promote", lambda *_: done)
    params = RegistryParams()
    assert judged(tmp_path, params, "2") == (said, None)
