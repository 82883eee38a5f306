"""The flow behind `make run`: build, register, and promote where the gate allows it."""

import logging
import sys
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from minigpt import __version__
from minigpt.errors import GateRefusedError
from minigpt.log import printable
from minigpt.params import PARAMS, Params, load_params
from minigpt.process import workspace_lock
from minigpt.tracking.address import tracking_uri
from minigpt.tracking.store import database_of, open_store
from pipelines.build import bring_stages_up_to_date, parent_run
from pipelines.closing import all_unchanged, closing, nothing_to_do
from pipelines.committed import note
from pipelines.flows import Wait, holder_name, named, told, untagged
from pipelines.preflight import check_environment
from pipelines.runner import Result
from pipelines.server import log_to_file, start_server
from pipelines.services import BEATS
from pipelines.settled import REFUSED, REPORT


@dataclass(frozen=True)
class Release:
    """What a run of the flow came to."""

    results: dict[str, Result]
    name: str
    version: str
    standing: str
    """What the version is now, in words."""
    refusal: str | None
    """Why it was not promoted."""
    report: Path


@flow(flow_run_name=named("make run"), version=__version__)
@told
def release(wait: Wait = True) -> State[Release]:
    """Build, register what was built, promote it. A refusal is a result: Completed, named Refused.

    Raises:
        MiniGPTError: params.yaml, the environment, the store or a stage is not in order.
    """
    root, began = Path.cwd(), time.monotonic()
    params = load_params(Params, root / PARAMS)
    check_environment(root)
    with (
        workspace_lock(root, wait, holder_name()),
        parent_run(root) as (journal, stale),
        untagged(),
    ):
        results = bring_stages_up_to_date(root, params, journal, stale)
        name, version = register(root, params, journal.id if journal else None)
        standing, refusal = promote(root, params, version)
        report = root / REPORT
        if not (all_unchanged(results) and report.is_file()):
            report = render_report(root)
    done = Release(results, name, version, standing, refusal, report)
    lines = ending(root, done, time.monotonic() - began)
    create_markdown_artifact(
        f"**{name} {version}: {standing}**\n\n{textwrap.indent(chr(10).join(lines), '    ')}\n",
        key="release",
        description="How the run ended: the version, its figures, what next.",
    )
    if refusal is not None:
        return Completed(name="Refused", message=refusal, data=done)
    return Completed(message=f"{name} {version}: {standing}", data=done)


def ending(root: Path, done: Release, seconds: float) -> list[str]:
    """What a run is told to have come to, on a terminal and in Prefect."""
    if all_unchanged(done.results):
        standing = f"version {done.version} is {done.standing}"
        lines = [nothing_to_do(len(done.results), standing, seconds)]
    else:
        version = f"{done.name} {done.version} · {done.standing}"
        ref = "champion" if done.refusal is None else done.version
        lines = closing(root, version, done.report, seconds, ref)
        if differing := note(root, ref):
            lines += ["", differing]
    return lines if done.refusal is None else [*lines, "", printable(done.refusal)]


@task(task_run_name="register", cache_policy=NO_CACHE)
def register(root: Path, params: Params, journal: str | None) -> tuple[str, str]:
    """Name and number of the version that holds what was built; it becomes `challenger`.

    `journal` is that of the flow: the registration lies under its run.
    """
    from minigpt.registry.register import register as register_build
    from minigpt.registry.registry import Registry

    version = register_build(Registry(root, params.release.name), journal)
    get_run_logger().info("register: %s %s", version.name, version.version)
    return version.name, version.version


@task(task_run_name="promote", cache_policy=NO_CACHE)
def promote(root: Path, params: Params, version: str) -> tuple[str, str | None]:
    """What the version is now, and why it is no champion where the gate refused."""
    standing, refusal = judged(root, params, version)
    level = logging.WARNING if refusal else logging.INFO
    get_run_logger().log(level, "promote: %s", refusal or f"version {version} is {standing}")
    return standing, refusal


def judged(root: Path, params: Params, version: str) -> tuple[str, str | None]:
    """What the gate makes of the version."""
    from minigpt.registry.promotion import promote as promotion
    from minigpt.registry.registry import Registry

    try:
        done = promotion.promote(Registry(root, params.release.name), version, params.gate)
    except GateRefusedError as refusal:
        return REFUSED, str(refusal)
    if not done.moved:
        return "champion", None
    if done.before is None:
        return "champion (the first of its name; it meets the absolute conditions)", None
    # The first condition that compares with the champion before says what a version is for.
    compared = (f"{c.about} {c.found}" for c in done.conditions if " against " in c.found)
    figures = next(compared, "the gate allows it")
    return f"champion (in place of version {done.before}; {figures})", None


@task(task_run_name="report", cache_policy=NO_CACHE)
def render_report(root: Path) -> Path:
    """reports/index.html, from what was built and from how long it took."""
    from minigpt.evaluation.report import render
    from minigpt.registry.durations import stage_durations

    report = Path(render(root, stage_durations(root)))
    get_run_logger().info("report: %s", report.relative_to(root).as_posix())
    return report


def run_flow(root: Path, wait: bool, debug: bool) -> int:
    """Run the flow, tell how it ended. The workspace is locked, params.yaml and git are checked."""
    server_answers = start_server(root)
    if not debug:
        log_to_file(root)
    if database_of(tracking_uri(root)):  # a server may come back until there is a version
        open_store(root)  # before any stage does, and while Prefect's server gets ready
    server_answers()
    with tags(BEATS):
        state: Any = release(wait=wait, return_state=True)
    done: Release = state.result()
    seconds = time.time() - psutil.Process().create_time()  # imports take their share
    lines = ending(root, done, seconds)
    print("\n".join(lines if all_unchanged(done.results) else ["", *lines]))
    sys.stdout.flush()
    return 0
