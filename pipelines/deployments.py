"""What runs without a person: the nightly release, and build and sweep for a click in the UI.

`python -m pipelines.deployments` serves them from this process until it is ended (`make up` does
so); prefect.yaml holds the same for those who have workers and pools.
"""

import argparse
import os
import sys
import zoneinfo
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.automations import Automation
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    StateType,
)
from prefect.deployments.runner import RunnerDeployment
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from pipelines.build import build
from pipelines.release import release
from pipelines.services import BEATS, NIGHTLY, ZOMBIE_SECONDS
from pipelines.serving import serve
from pipelines.sweep import EXAMPLE, sweep

ZOMBIES = "minigpt: end runs whose process is gone"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
TAGS = ["minigpt", BEATS]
SLUG = "make-up"
"""Of the one schedule that is ours; those that a person adds to a deployment are his."""


def deployments(cron: str = NIGHTLY) -> list[RunnerDeployment]:
    """The three, all of them waiting for whoever is at work in this folder."""
    module = EntrypointType.MODULE_PATH
    one = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    entries: list[Any] = [  # to_deployment is typed for callers that await as well
        release.to_deployment(
            "nightly",
            schedule=Cron(cron, timezone=local_zone(), slug=SLUG),
            concurrency_limit=one,
            parameters={"wait": True},
            entrypoint_type=module,
            description="Build what is stale, register it, promote it where the gate allows it. "
            "Seconds where no source, parameter or line of code has changed.",
            tags=TAGS,
        ),
        build.to_deployment(
            "build",
            parameters={"until": None, "wait": True},
            entrypoint_type=module,
            description="Bring every stage (or `until` and what it needs) up to date; "
            "nothing is registered.",
            tags=TAGS,
        ),
        sweep.to_deployment(
            "sweep",
            parameters={"overrides": [EXAMPLE], "wait": True},
            entrypoint_type=module,
            description="Try every combination of the overrides in a clone and compare them.",
            tags=TAGS,
        ),
    ]
    return entries


def zombies() -> Automation:
    """Marks as Crashed what has stopped beating, of the runs that are to beat that often."""
    return Automation(
        name=ZOMBIES,
        description=f"A flow's process says every so often that it lives; {ZOMBIE_SECONDS} s of "
        "silence mean that it was killed.",
        trigger=EventTrigger(
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.heartbeat", *(f"prefect.flow-run.{end}" for end in ENDS)},
            match={"prefect.resource.id": ["prefect.flow-run.*"]},
            match_related={"prefect.resource.id": [f"prefect.tag.{BEATS}"]},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=ZOMBIE_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"its process has been silent for {ZOMBIE_SECONDS} s; it was killed",
            )
        ],
    )


def end_zombies() -> None:
    """Have the server do that; the automation is the same every time.

    It is updated only where it has changed: an update makes the server forget which runs it has
    heard from, and a run killed just before would stay Running for ever.
    """
    wanted = zombies()
    try:
        automation: Any = Automation.read(name=ZOMBIES)
    except ValueError:  # there is none yet
        wanted.create()
        return
    wanted.id = automation.id
    if automation != wanted:
        wanted.update()


def local_zone() -> str:
    """The name of this machine's time zone, for `at three` to mean three here; else UTC."""
    link = Path("/etc/localtime")
    _, _, linked = os.fsdecode(link.resolve()).partition("zoneinfo/")
    for name in (os.environ.get("TZ", ""), linked):
        if name in zoneinfo.available_timezones():
            return name
    return "UTC"


def main(argv: list[str] | None = None) -> int:
    """Serve until ended."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.deployments", description=__doc__)
    parser.add_argument("--cron", default=NIGHTLY, help=f"of the release flow; {NIGHTLY}")
    parser.add_argument("--begun", type=Path, help="file to write once all of them stand")
    options = parser.parse_args(argv)
    end_zombies()
    serve(deployments(options.cron), options.begun)
    return 0


if __name__ == "__main__":
    sys.exit(main())
