"""What a person paused, or added, is as it was when the deployments are served again."""

import contextlib
import uuid
from types import SimpleNamespace

import httpx
import pytest
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound, TerminationSignal

from pipelines import serving
from pipelines.deployments import SLUG, deployments
from pipelines.services import NIGHTLY, NIGHTLY_RUN
from pipelines.serving import RESTING, keep_what_a_person_set, rest


class Server:
    """A server that keeps deployments, as serving asks one."""

    def __init__(self):
        self.known, self.variables = {}, {}

    def read_deployment_by_name(self, name):
        if name not in self.known:
            raise ObjectNotFound(None)
        return self.known[name]

    def read_variable_by_name(self, name):
        return SimpleNamespace(value=self.variables[name]) if name in self.variables else None

    def set(self, name, value, overwrite):
        assert overwrite
        self.variables[name] = value

    def pause_deployment(self, id):
        next(one for one in self.known.values() if one.id == id).paused = True

    def serve(self, cron=NIGHTLY):
        """As `serve` begins: the deployments are registered."""
        wanted = deployments(cron)
        keep_what_a_person_set(self, wanted)
        for one in wanted:
            kept = [
                DeploymentSchedule(**s.model_dump(include={"schedule", "active", "slug"}))
                for s in one.schedules or ()
            ]
            self.known[one.full_name] = SimpleNamespace(
                id=uuid.uuid4(), paused=bool(one.paused), schedules=kept
            )
        self.variables.pop(RESTING, None)
        return self.known[NIGHTLY_RUN]

    def make_down(self):
        """As `serve` ends."""
        rest(self, deployments())


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(serving, "Variable", server)
    return server


def test_what_nobody_paused_rests_while_down_and_goes_on(server):
    server.serve()
    server.make_down()
    assert all(one.paused for one in server.known.values())
    nightly = server.serve()
    assert not any(one.paused for one in server.known.values())
    assert [schedule.active for schedule in nightly.schedules] == [True]
    assert server.variables == {}


def test_a_paused_schedule_stays_paused_under_another_time_too(server):
    server.serve().schedules[0].active = False
    for cron in (NIGHTLY, "30 5 * * 1"):
        server.make_down()
        [schedule] = server.serve(cron).schedules
        assert (schedule.active, schedule.schedule.cron) == (False, cron)


def test_a_paused_deployment_stays_paused_and_the_others_do_not(server):
    server.serve().paused = True
    for _ in range(2):
        server.make_down()
        server.serve()
    assert [name for name, one in server.known.items() if one.paused] == [NIGHTLY_RUN]


def test_after_a_kill_what_was_paused_is_and_nothing_else(server):
    server.serve()
    server.known["build/build"].paused = True
    server.serve()
    assert [name for name, one in server.known.items() if one.paused] == ["build/build"]


@pytest.mark.parametrize("signal", [None, KeyboardInterrupt, TerminationSignal(15)])
@pytest.mark.parametrize("gone", [False, True])
def test_it_rests_however_it_is_ended_and_a_server_that_ended_first_is_no_fault(
    signal, gone, server, tmp_path, monkeypatch
):
    clients, registered = [], []

    class Runner:
        def __init__(self, pause_on_shutdown):
            assert not pause_on_shutdown

        def add_deployment(self, deployment):
            assert not (tmp_path / "begun").exists()
            registered.append(deployment.name)

        async def start(self):
            assert (tmp_path / "begun").exists()

    def run(start):
        start.close()
        if signal is not None:
            raise signal

    def client(sync_client):
        assert sync_client
        clients.append(server)
        if gone and len(clients) == 2:
            raise httpx.ConnectError("refused")
        return contextlib.nullcontext(server)

    for name, value in (("Runner", Runner), ("get_client", client)):
        monkeypatch.setattr(serving, name, value)
    monkeypatch.setattr(serving.asyncio, "run", run)
    serving.serve(deployments(), tmp_path / "begun")
    assert registered == ["nightly", "build", "sweep"]
    assert (RESTING in server.variables) is not gone


def test_a_schedule_that_a_person_added_stays(server):
    own = DeploymentSchedule(schedule=CronSchedule(cron="0 12 * * 0"), active=False)
    server.serve().schedules.append(own)
    server.known["build/build"].schedules.append(own)
    server.make_down()
    nightly = server.serve()
    assert [s.slug for s in nightly.schedules] == [SLUG, None]
    for schedule in (nightly.schedules[1], *server.known["build/build"].schedules):
        assert (schedule.schedule.cron, schedule.active) == ("0 12 * * 0", False)


def test_the_schedule_of_an_older_minigpt_is_not_served_beside_ours(server):
    old = server.serve().schedules[0]
    old.slug, old.active = None, False
    [schedule] = server.serve().schedules
    assert (schedule.slug, schedule.active) == (SLUG, False)
