"""What is scheduled, without a server."""

import os
import uuid
from pathlib import Path

import pytest
import yaml
from prefect.automations import Automation
from prefect.events.related import tags_as_related_resources
from prefect.server.events.schemas.automations import EventTrigger as ServersTrigger
from prefect.server.events.schemas.events import Event
from prefect.types._datetime import now

from pipelines.deployments import deployments, end_zombies, local_zone, zombies
from pipelines.services import BEATS, NIGHTLY

ROOT = Path(__file__).resolve().parents[2]
BY_NAME = {deployment.name: deployment for deployment in deployments()}
STATED = {
    deployment["name"]: deployment
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
}


def test_only_the_nightly_release_fires_by_itself_at_local_time():
    fires = {name: deployment.schedules for name, deployment in BY_NAME.items()}
    assert [name for name, schedules in fires.items() if schedules] == ["nightly"]
    [nightly] = fires["nightly"]
    assert nightly.schedule.cron == NIGHTLY
    assert nightly.schedule.timezone == local_zone()


def test_every_deployment_waits_for_whoever_is_at_work():
    assert all(deployment.parameters["wait"] is True for deployment in BY_NAME.values())


def test_the_file_for_workers_says_the_same_as_the_code():
    assert set(STATED) == set(BY_NAME)
    for name, served in BY_NAME.items():
        module, flow = served.entrypoint.rsplit(".", 1)
        stated = STATED[name]
        assert stated["entrypoint"] == f"{module.replace('.', '/')}.py:{flow}"
        assert stated["parameters"] == served.parameters
        assert stated["description"] in served.description
        assert [s["cron"] for s in stated["schedules"]] == [
            s.schedule.cron for s in served.schedules
        ]
        limit = stated.get("concurrency_limit")
        assert (limit["limit"] if limit else None) == served.concurrency_limit


@pytest.mark.parametrize(("zone", "meant"), [("Asia/Kathmandu", "Asia/Kathmandu"), (":x", None)])
def test_three_means_three_here(zone, meant, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    monkeypatch.setattr(os, "fsdecode", lambda path: "/usr/share/zoneinfo/Europe/Berlin")
    assert local_zone() == (meant or "Europe/Berlin")


def test_a_new_start_does_not_make_the_server_forget_whom_it_has_heard(monkeypatch):
    """Prefect drops what it had counted for an automation that is updated."""
    automations, updated = [], []

    def read(name):
        if not automations:
            raise ValueError(name)
        return automations[0]

    monkeypatch.setattr(Automation, "read", read)
    monkeypatch.setattr(
        Automation,
        "create",
        lambda a: automations.append(a.model_copy(update={"id": uuid.uuid4()})),
    )
    monkeypatch.setattr(Automation, "update", lambda a: updated.append(a))
    end_zombies()
    end_zombies()
    assert (len(automations), updated) == (1, [])
    automations[0] = automations[0].model_copy(update={"description": "of an older minigpt"})
    end_zombies()
    assert [a.id for a in updated] == [automations[0].id]


@pytest.mark.parametrize(
    ("event", "tags", "ours"),
    [
        ("prefect.flow-run.heartbeat", ["minigpt", BEATS], True),
        ("prefect.flow-run.Completed", [BEATS], True),
        ("prefect.flow-run.heartbeat", ["somebody's"], False),
        ("prefect.flow-run.heartbeat", ["minigpt"], False),  # of a worker, at its own pace
    ],
)
def test_on_a_shared_server_only_runs_of_ours_are_ended_for_their_silence(event, tags, ours):
    trigger = ServersTrigger.model_validate(zombies().trigger.model_dump(mode="json"))
    related = [{"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow"}]
    related += [tag.model_dump() for tag in tags_as_related_resources(tags)]
    resource = {"prefect.resource.id": f"prefect.flow-run.{uuid.uuid4()}"}
    message = Event(
        id=uuid.uuid4(), occurred=now("UTC"), event=event, resource=resource, related=related
    )
    assert trigger.covers(message.receive()) is ours


def test_every_deployment_says_that_it_beats():
    assert all(BEATS in deployment.tags for deployment in BY_NAME.values())
