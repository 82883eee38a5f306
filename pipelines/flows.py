"""What every flow has in common: what its runs are called, what their log holds, how they fail."""

import functools
import logging
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ParamSpec

from prefect import get_run_logger
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TagsContext
from prefect.runtime import deployment
from prefect.states import Failed
from pydantic import Field

from minigpt.errors import MiniGPTError, ParamsError
from minigpt.params import PARAMS, load_params
from minigpt.registry.config import RegistryParams

P = ParamSpec("P")
PROGRESS_SECONDS = 30.0
"""Between two lines of a run's log that differ in their numbers only."""
NUMBERS = re.compile(r"\d[\d.,:]*")
DRAWN = re.compile(r"[a-z]+-[a-z]+")
"""A name that Prefect drew: tangible-earwig."""
Until = Annotated[
    str | None,
    Field(description="The last stage to bring up to date, as dvc.yaml names it; null: all."),
]
Wait = Annotated[
    bool, Field(description="Queue behind another run in this workspace; else it is refused.")
]


def named(by_hand: str, about: str = "") -> Callable[[], str]:
    """What to call a flow's runs: release name, what started it, its parameter `about`, when.

    `by_hand` stands for a run that no deployment started. A name that a person gave stays.
    """

    def name() -> str:
        context = FlowRunContext.get()
        run = context.flow_run if context else None
        if context is None or run is None:
            return by_hand
        if not DRAWN.fullmatch(run.name):
            return run.name
        root = Path.cwd()
        try:
            project = load_params(RegistryParams, root / PARAMS).release.name
        except ParamsError:  # the run will say so
            project = root.name
        words, when = [deployment.name or by_hand], datetime.now(UTC)
        if run.auto_scheduled:
            when = run.expected_start_time or when
        elif deployment.name:
            words.append("by hand")
        if value := (context.parameters or {}).get(about):
            words.append(" ".join(value) if isinstance(value, list) else f"{about} {value}")
        return f"{project} · {' '.join(words)} {when.astimezone():%Y-%m-%d %H:%M}"

    return name


def told(flow: Callable[P, Any]) -> Callable[P, Any]:
    """A flow whose refusal ends its run as Failed, in our words; a traceback is for a fault."""

    @functools.wraps(flow)
    def run(*args: P.args, **kwargs: P.kwargs) -> Any:
        for name in ("prefect.flow_runs", "prefect.task_runs"):
            logging.getLogger(name).addFilter(is_no_refusal)  # once; a second time is none
        try:
            return flow(*args, **kwargs)
        except MiniGPTError as error:
            get_run_logger().error("%s", error)
            return Failed(message=str(error), data=error)

    return run


def is_no_refusal(record: logging.LogRecord) -> bool:
    """Whether Prefect may log this: not the traceback of what `told` says in words."""
    return not (record.exc_info and isinstance(record.exc_info[1], MiniGPTError))


class RunLog:
    """A run's log in Prefect, which is kept: of lines that count up, one every half minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """The log of the task or flow run in which this is called."""
        self.log, self.clock = get_run_logger(), clock
        self.shape, self.told_at = "", -PROGRESS_SECONDS

    def said(self, line: str) -> None:
        """Log a line of a stage, unless it is the one before with other numbers."""
        shape, now = NUMBERS.sub("#", line), self.clock()
        if shape != self.shape or now - self.told_at >= PROGRESS_SECONDS:
            self.log.info("%s", line)
            self.shape, self.told_at = shape, now


def untagged() -> TagsContext:
    """Tasks that start in the block do not carry the flow run's tags.

    For those, each would ask the server for a slot just while the end of the task before is being
    written. SQLite refuses one of the two, and Prefect's client waits 2 s before it asks again.
    """
    return TagsContext(current_tags=set())


def came_to(state: State[Any]) -> Any:
    """What a task returned, in success or failure; what it raised is raised here."""
    result: Any = state.result(raise_on_failure=False)
    if isinstance(result, BaseException):
        raise result
    return result


def holder_name() -> str | None:
    """What to call a flow that a schedule or a click started; None for one of the terminal."""
    return f"the deployment {deployment.name} of make up" if deployment.name else None
