"""The flow that brings every stage up to date: one Prefect task a stage of dvc.yaml."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from minigpt import __version__
from minigpt.data.links import follow
from minigpt.errors import StageError
from minigpt.git import require_git
from minigpt.graph import read_graph
from minigpt.log import minutes, say
from minigpt.machine import Machine
from minigpt.model.count import parameters
from minigpt.params import PARAMS, Params, load_params
from minigpt.process import workspace_lock
from minigpt.tracking import PARENT_ENV, Journal, Status, open_journal
from minigpt.tracking.courier import Courier
from minigpt.tracking.figures import figures, read_figures
from minigpt.tracking.origin import COMMIT, SOURCE
from pipelines.dag import Stage, anything_stale, read_stages
from pipelines.display import Display
from pipelines.flows import RunLog, Until, Wait, came_to, holder_name, named, told, untagged
from pipelines.lockfile import keep_lock
from pipelines.runner import Outcome, Result, run_stage

RETRY_SECONDS = 2


@flow(flow_run_name=named("build", "until"), version=__version__)
@told
def build(until: Until = None, wait: Wait = True) -> dict[str, Result]:
    """Bring every stage (or `until` and what it needs) up to date, in order, one at a time.

    DVC locks the workspace, so there is nothing to gain from two at once.

    Raises:
        ParamsError: params.yaml or `until` holds something that is not allowed; nothing ran.
        StageError: a stage failed; nothing after it ran.
    """
    root = Path.cwd()
    params = load_params(Params, root / PARAMS)
    with (
        workspace_lock(root, wait, holder_name()),
        parent_run(root, until) as (journal, stale),
        untagged(),
    ):
        return bring_stages_up_to_date(root, params, journal, stale, until)


def bring_stages_up_to_date(
    root: Path, params: Params, journal: Journal | None, stale: bool, until: str | None = None
) -> dict[str, Result]:
    """One task a stage, in the run of the flow that calls this.

    Raises:
        StageError: a stage failed; nothing after it ran.
    """
    results: dict[str, Result] = {}
    stages = read_stages(root, until)
    if stale:
        machine = Machine.load()
        names = [stage.name for stage in stages]
        params.refuse_beyond_memory(names, machine.memory, machine.micro_batch)
    title = plan(params, len(stages))
    get_run_logger().info("%s", title)
    if journal is not None:
        journal.params(params.model_dump(mode="json", by_alias=True))
    display = Display(sys.stdout, f"plan       {title}", [stage.name for stage in stages])
    try:
        for stage in stages:
            one = bring_up_to_date.with_options(name=stage.name, retries=stage.retries)
            state: Any = one(stage, root, display, journal, stale, return_state=True)
            result = results[stage.name] = came_to(state)
            if result.outcome is Outcome.FAILED:
                display.finished(result)
                raise StageError(f"{stage.name}: {result.said}")
        if journal is not None:
            graph = read_graph(root)
            outs = {out for stage in stages for out in graph[stage.name].outs}
            journal.metrics(figures(read_figures(root, outs)))
    finally:
        display.close()
        create_table_artifact(
            table=[row(result) for result in results.values()],
            key="stages",
            description="What became of every stage; the digest is that of all it wrote.",
        )
    return results


@task(task_run_name="{stage.name}", cache_policy=NO_CACHE, retry_delay_seconds=RETRY_SECONDS)
def bring_up_to_date(
    stage: Stage, root: Path, display: Display, journal: Journal | None, stale: bool
) -> State[Result]:
    """One stage through DVC. The state's name tells ran (Completed), Cached and Failed apart.

    Where nothing in the graph is stale, DVC has said so already and is not asked ten times.
    """
    display.checking(stage.name)
    result = Result(stage.name, Outcome.UNCHANGED, 0.0)
    if stale:
        result = run_stage(stage.name, root, Watchers(display, RunLog()))
    if result.outcome is Outcome.FAILED:
        return Failed(message=result.said, data=result)
    result = replace(result, digest=read_graph(root)[result.stage].output_digest(root))
    if journal is not None and result.outcome is not Outcome.RAN:
        journal.link(result.stage, str(result.digest))
    display.finished(result)
    took = f" in {minutes(result.seconds)}" if stale else ""
    get_run_logger().info("%s: %s%s", result.stage, result.outcome, took)
    if result.outcome is Outcome.RAN:
        return Completed(message=result.said, data=result)
    return Completed(name="Cached", message=str(result.outcome), data=result)


@dataclass(frozen=True)
class Watchers:
    """The table on the terminal and the task's log in Prefect."""

    display: Display
    log: RunLog

    def started(self, stage: str) -> None:
        """The stage's command was started."""
        self.display.started(stage)

    def said(self, stage: str, text: str) -> None:
        """The stage said a line."""
        self.display.said(stage, text)
        self.log.said(f"{stage}: {text}")


@contextlib.contextmanager
def parent_run(root: Path, until: str | None = None) -> Iterator[tuple[Journal | None, bool]]:
    """The journal of the run that stages hang their runs on, and whether any will run.

    What is written is delivered to MLflow meanwhile. A run with nothing to do has no journal: a
    schedule would bury the runs that made something, and Prefect has the record.
    """
    keep_lock(root)  # before anything reads it: a killed DVC may have left half
    follow(root, load_params(Params, root / PARAMS).sources, say)
    stale = anything_stale(root, until)
    if not stale or Machine.load().tracker == "none":
        yield None, stale
        return
    source = f"pipelines/{flow_run.flow_name}.py"
    tags = {COMMIT: require_git(root), SOURCE: source, "minigpt.flow_run": str(flow_run.id)}
    journal = open_journal(root, "pipeline", tags=tags)
    status: Status = "FAILED"
    with Courier(journal.path.parent).at_work():
        os.environ[PARENT_ENV] = str(journal.path)
        try:
            yield journal, True
            status = "FINISHED"
        finally:
            del os.environ[PARENT_ENV]
            journal.close(status)


def plan(params: Params, stages: int) -> str:
    """What is about to be built, on one line."""
    machine, size = Machine.load(), parameters(params.model, params.tokenizer.vocab_size)
    facts = [
        params.release.name,
        f"{stages} stages",
        f"{size / 1e6:.1f}M parameters",
        f"{machine.threads} threads, {machine.fingerprint()['device']}, {params.pretrain.dtype}",
    ]
    return " · ".join(facts)


def row(result: Result) -> dict[str, Any]:
    """A row of the table artifact."""
    return {
        "stage": result.stage,
        "outcome": str(result.outcome),
        "seconds": round(result.seconds, 1),
        "what happened": result.said,
        "digest": result.digest or "",
    }
