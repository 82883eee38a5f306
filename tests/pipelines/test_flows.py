"""What runs are called, and what of a stage's lines is kept."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from minigpt.errors import MiniGPTError
from pipelines import api_url, flows
from pipelines.flows import RunLog, is_no_refusal, named


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the deployment nightly that its schedule made."""
    run = SimpleNamespace(
        name="tangible-earwig",
        auto_scheduled=True,
        expected_start_time=datetime(2026, 11, 27, 3, 0, tzinfo=UTC),
    )
    context = SimpleNamespace(flow_run=run, parameters={"until": None, "overrides": ["seed=1,2"]})
    monkeypatch.setattr(flows, "FlowRunContext", SimpleNamespace(get=lambda: context))
    monkeypatch.setattr(flows, "deployment", SimpleNamespace(name="nightly"))
    monkeypatch.setattr(flows, "load_params", lambda *_: PARAMS)
    monkeypatch.chdir(tmp_path)
    return run


PARAMS = SimpleNamespace(release=SimpleNamespace(name="minigpt-tiny"))


def at(when):
    return f"{when.astimezone():%Y-%m-%d %H:%M}"


def test_a_run_by_schedule_bears_the_time_for_which_it_was_scheduled(run):
    assert named("make run")() == f"minigpt-tiny · nightly {at(run.expected_start_time)}"


def test_a_run_that_somebody_asked_for_says_so_and_what_for(run, monkeypatch):
    run.auto_scheduled = False
    assert named("make run")().startswith("minigpt-tiny · nightly by hand 2")
    assert named("sweep", "overrides")().startswith("minigpt-tiny · nightly by hand seed=1,2 2")
    monkeypatch.setattr(flows, "deployment", SimpleNamespace(name=None))
    assert named("make run")().startswith("minigpt-tiny · make run 2")
    assert named("build", "until")().startswith("minigpt-tiny · build 2")


def test_a_name_that_a_person_gave_stays(run):
    run.name = "before the holidays"
    assert named("make run")() == "before the holidays"


def test_params_that_cannot_be_read_do_not_keep_a_run_from_its_name(run, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    context = SimpleNamespace(flow_run=run, parameters={})
    monkeypatch.setattr(flows, "FlowRunContext", SimpleNamespace(get=lambda: context))
    assert named("make run")().startswith(f"{tmp_path.name} · make run 2")


def test_of_lines_that_count_up_the_log_keeps_one_every_half_minute(monkeypatch):
    kept, now = [], 0.0
    log = SimpleNamespace(info=lambda _, line: kept.append(line))
    monkeypatch.setattr(flows, "get_run_logger", lambda: log)
    run_log = RunLog(lambda: now)
    for second in range(100):
        now = float(second)
        run_log.said(f"pretrain: step {second}/100 · loss {9 - second / 20:.2f} · 0:0{second} left")
    run_log.said("pretrain: 2.717 bits per byte on validation")
    assert [line.split()[2] for line in kept[:-1]] == ["0/100", "30/100", "60/100", "90/100"]
    assert kept[-1] == "pretrain: 2.717 bits per byte on validation"


def test_only_a_fault_shows_its_traceback():
    for error, shown in ((MiniGPTError("x"), False), (ValueError("x"), True)):
        assert is_no_refusal(SimpleNamespace(exc_info=(type(error), error, None))) is shown
    assert is_no_refusal(SimpleNamespace(exc_info=None))


def test_prefect_finds_the_server_in_this_folder_by_itself_while_it_is_up(tmp_path):
    for url in ("http://127.0.0.1:4200/api", "http://127.0.0.1:40001/api"):
        api_url.publish(tmp_path, url)
        assert api_url.published(tmp_path) == url
    api_url.withdraw(tmp_path)
    api_url.withdraw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_settings_of_the_users_own_are_left_alone(tmp_path):
    own = '[api]\nurl = "https://prefect.example.org/api"\n'
    (tmp_path / "prefect.toml").write_text(own)
    api_url.publish(tmp_path, "http://127.0.0.1:4200/api")
    api_url.withdraw(tmp_path)
    assert api_url.published(tmp_path) is None
    assert (tmp_path / "prefect.toml").read_text() == own
