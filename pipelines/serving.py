"""Serves deployments from this process, as Prefect's `serve` does; what a person paused stays so.

Prefect's own pauses every deployment at its end and starts it, and its schedules, at the next
begin, whoever had paused them (docs/decisions/0032).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound, TerminationSignal
from prefect.runner import Runner
from prefect.variables import Variable

from minigpt.files import write_text

RESTING = "minigpt_paused_by_make_down"
"""Variable on the server: the deployments that go on when they are served again."""


def serve(deployments: Sequence[RunnerDeployment], begun: Path | None = None) -> None:
    """Register the deployments and run what is due of them until a signal, then let them rest.

    `begun` is a file that is written once they stand on the server as they are to be.
    """
    runner = Runner(pause_on_shutdown=False)
    with get_client(sync_client=True) as client:
        keep_what_a_person_set(client, deployments)
        for deployment in deployments:
            runner.add_deployment(deployment)
        if client.read_variable_by_name(RESTING) is not None:
            client.delete_variable_by_name(RESTING)
    if begun is not None:
        write_text(begun, "")
    with contextlib.suppress(KeyboardInterrupt, TerminationSignal):
        asyncio.run(runner.start())
    # Where the server has ended first, all of it stays as it is.
    with contextlib.suppress(httpx.TransportError), get_client(sync_client=True) as client:
        rest(client, deployments)


def keep_what_a_person_set(
    client: SyncPrefectClient, deployments: Sequence[RunnerDeployment]
) -> None:
    """Take over from the server what is paused there, and schedules that somebody added."""
    variable = client.read_variable_by_name(RESTING)
    resting: Any = variable.value if variable is not None else ()
    for deployment in deployments:
        if before := standing(client, deployment):
            deployment.paused = before.paused and deployment.full_name not in resting
            deployment.schedules = [*schedules(deployment, before.schedules)]


def schedules(
    deployment: RunnerDeployment, before: Sequence[DeploymentSchedule]
) -> list[DeploymentScheduleCreate]:
    """The deployment's own schedules, off where they were off, and those that are not its own.

    They are told apart by their slug; an older minigpt gave none.
    """
    others, kept = list(before), []
    for ours in deployment.schedules or ():
        same = [s for s in others if s.slug == ours.slug]
        same += [s for s in others if s.slug is None and s.schedule == ours.schedule]
        active = same[0].active if same else True
        others = [s for s in others if s not in same]
        kept.append(DeploymentScheduleCreate(schedule=ours.schedule, active=active, slug=ours.slug))
    facts = {"schedule", "active", "parameters", "slug"}
    kept += [DeploymentScheduleCreate.model_validate(s.model_dump(include=facts)) for s in others]
    return kept


def rest(client: SyncPrefectClient, deployments: Sequence[RunnerDeployment]) -> None:
    """Pause what nobody serves any longer, and note which of it no person had paused."""
    awake = {
        deployment.full_name: before
        for deployment in deployments
        if (before := standing(client, deployment)) and not before.paused
    }
    Variable.set(RESTING, list(awake), overwrite=True)
    for before in awake.values():
        client.pause_deployment(before.id)


def standing(client: SyncPrefectClient, deployment: RunnerDeployment) -> DeploymentResponse | None:
    """The deployment as the server knows it; None where it is new there."""
    try:
        return client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        return None
