"""The flow that compares settings: `python -m pipelines.sweep finetune.lr=0.002,0.004`.

Every combination is one `dvc exp run` in a throw-away clone that shares DVC's cache, so params.yaml
and everything else in the workspace stay as they are, whatever happens. The experiments are handed
back (`dvc exp show`, `dvc exp apply`), and each is a run in MLflow under the one of the sweep.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, get_run_logger, tags, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from minigpt import __version__, log
from minigpt.errors import ParamsError, StageError
from minigpt.git import require_git
from minigpt.machine import Machine
from minigpt.params import PARAMS, Params, load_params, read_values
from minigpt.process import workspace_lock
from minigpt.tracking import PARENT_ENV, Journal, Status, open_journal
from minigpt.tracking.courier import Courier
from minigpt.tracking.origin import COMMIT, SOURCE, origin
from minigpt.yaml12 import YamlError, read_yaml
from pipelines.clone import Clone, throwaway
from pipelines.dag import read_stages
from pipelines.flows import RunLog, Wait, came_to, holder_name, named, told, untagged
from pipelines.preflight import check_environment
from pipelines.server import log_to_file, start_server
from pipelines.services import BEATS
from pipelines.terminal import ended

Overrides = Annotated[
    list[str],
    Field(description="KEY=VALUE,VALUE… of params.yaml, one an item; every combination is tried."),
]
Last = Annotated[str, Field(description="The last stage that a trial builds.")]
Figure = Annotated[str, Field(description="FILE:KEY of a metrics file; lower is better.")]
FIGURE = "metrics/finetune.json:new_domain.after.bits_per_byte"
"""Lower is better. It comes from validation, so that no choice sees the test documents."""
BASE_FIGURE = "metrics/pretrain.json:val.bits_per_byte"
"""The same of a project that does without fine-tuning."""
EXAMPLE = "finetune.lr=0.002,0.004"
FILE = "pipelines/sweep.py"
SHOW = "dvc exp show --only-changed --drop '.*/|Created'"
"""Without the columns that no terminal holds."""


@dataclass(frozen=True)
class Trial:
    """One combination and what it came to."""

    name: str
    """The name of the experiment in DVC."""
    overrides: dict[str, Any]
    figure: float | None = None
    said: str = ""
    """Why it has no figure."""

    def __str__(self) -> str:
        return " ".join(f"{key}={json.dumps(value)}" for key, value in self.overrides.items())


@flow(flow_run_name=named("sweep", "overrides"), version=__version__)
@told
def sweep(
    overrides: Overrides, until: Last = "finetune", figure: Figure = FIGURE, wait: Wait = True
) -> list[Trial]:
    """Try every combination of KEY=VALUE,VALUE …, best first; a trial builds as far as `until`.

    Raises:
        ParamsError: a parameter is not of its form or not allowed; nothing ran.
        StageError: no trial reached a figure.
    """
    root, run_log = Path.cwd().resolve(), get_run_logger()
    trials = combinations(root, overrides)
    check_figure(root, until, figure)
    run_log.info("%d trials by %s", len(trials), figure)
    with (
        workspace_lock(root, wait, holder_name()),
        recorded(root, trials, until, figure) as parent,
        throwaway(root) as clone,
        untagged(),
    ):
        done = []
        for trial in trials:
            one = run_trial.with_options(name=str(trial))
            state: Any = one(clone, trial, until, figure, parent, return_state=True)
            done.append(came_to(state))
            level = logging.WARNING if done[-1].figure is None else logging.INFO
            run_log.log(level, "%s: %s", trial, done[-1].said or done[-1].figure)
        ranked = sorted(done, key=lambda trial: (trial.figure is None, trial.figure))
        create_table_artifact(
            table=[row(trial) for trial in ranked],
            key="sweep",
            description=f"Every trial by {figure}, the best first (lower is better).",
        )
        if ranked[0].figure is None:
            raise StageError(
                f"no trial of {len(ranked)} has a figure; {ranked[0]}: {ranked[0].said}"
            )
        if parent is not None:
            parent.metrics({"best": ranked[0].figure})
            parent.tag("minigpt.best", str(ranked[0]))
    return ranked


@task(task_run_name="{trial}", cache_policy=NO_CACHE)
def run_trial(
    clone: Clone, trial: Trial, until: str, figure: str, parent: Journal | None
) -> State[Trial]:
    """One experiment; its state's message is its figure, or why it has none."""
    run = None
    with contextlib.ExitStack() as open_runs:
        environment = {}
        if parent is not None:
            tags = origin(clone.root) | {SOURCE: FILE, "minigpt.experiment": trial.name}
            run = Journal(parent.path.parent, str(trial), tags=tags, parent=parent.path)
            run.params(trial.overrides)
            environment[PARENT_ENV] = str(run.path)
            open_runs.callback(run.close, "KILLED")  # replaced below, unless we are stopped
        print(f"{trial}: begins", flush=True)
        problem = clone.experiment(trial.name, trial.overrides, until, environment, RunLog().said)
        value = None if problem else figure_of(clone.root, figure)
        if value is None and not problem:
            problem = f"{figure} is not there"
        if run is not None:
            if value is not None:
                run.metrics({"figure": value})
            open_runs.pop_all()
            run.close("FAILED" if problem else "FINISHED")
    done = replace(trial, figure=value, said=problem or "")
    print(f"{trial}: {problem or value}", flush=True)
    if problem:
        return Failed(message=problem, data=done)
    return Completed(message=f"{figure.rpartition(':')[2]} {value}", data=done)


def combinations(root: Path, overrides: Sequence[str]) -> list[Trial]:
    """Every combination of the values, each checked as params.yaml would be.

    Raises:
        ParamsError: one is not KEY=VALUE[,VALUE…], or gives a params.yaml that is refused.
    """
    values: dict[str, list[Any]] = {}
    for override in overrides:
        key, equals, listed = override.partition("=")
        try:
            choices = read_yaml(f"[{listed}]")
        except YamlError:
            choices = None
        if not (key and equals and choices):
            raise ParamsError(f"{override}: expected KEY=VALUE,VALUE…, as in {EXAMPLE}")
        values[key] = [number(value) for value in choices]
    if not values:
        raise ParamsError(f"nothing to compare; say what, as in {EXAMPLE}")
    load_params(Params, root / PARAMS)
    current = read_values(root / PARAMS)
    trials = {}  # by name: a value given twice is tried once
    for chosen in itertools.product(*values.values()):
        pairs = dict(zip(values, chosen, strict=True))
        check(current, pairs)
        digest = hashlib.sha256(json.dumps(pairs, sort_keys=True).encode()).hexdigest()
        name = f"sweep-{digest[:8]}"
        trials[name] = Trial(name, pairs)
    return list(trials.values())


def number(value: Any) -> Any:
    """4e-3, which YAML takes for a word, as the number that a person means."""
    with contextlib.suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def check(current: Mapping[str, Any], pairs: Mapping[str, Any]) -> None:
    """Refuse a combination that stages would refuse.

    Raises:
        ParamsError: a key is not there, or a value is not allowed.
    """
    changed = json.loads(json.dumps(current))
    for key, value in pairs.items():
        *above, last = key.split(".")
        place = changed
        for name in above:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ParamsError(f"params.yaml has no {key}. Look there for the key's whole name")
        place[last] = value
    try:
        Params.model_validate(changed)
    except ValueError as error:
        reason = " ".join(str(error).split("\n")[1:3])
        shown = " ".join(f"{key}={value}" for key, value in pairs.items())
        raise ParamsError(f"{shown}: {' '.join(reason.split())[:300]}") from error


@contextlib.contextmanager
def recorded(
    root: Path, trials: Sequence[Trial], until: str, figure: str
) -> Iterator[Journal | None]:
    """The sweep's own run, delivered while it works; None where runs are not recorded."""
    if Machine.load().tracker == "none":
        yield None
        return
    source = {COMMIT: require_git(root), SOURCE: FILE}
    tags = {**source, "minigpt.figure": figure, "minigpt.until": until}
    journal = open_journal(root, "sweep", tags=tags)
    journal.metrics({"trials": len(trials)})
    status: Status = "FAILED"
    with Courier(journal.path.parent).at_work():
        try:
            yield journal
            status = "FINISHED"
        finally:
            journal.close(status)


def check_figure(root: Path, until: str, figure: str) -> None:
    """Refuse a figure that no trial would have, or all alike: from a file that none of them writes.

    Raises:
        ParamsError: there is no stage `until`, none up to it writes the file, or as it was last
            written it has no such number; or it is fine-tuning's, and the project does without.
    """
    if figure == FIGURE and load_params(Params, root / PARAMS).finetune is None:
        raise ParamsError(
            f"nothing is fine-tuned here (params.yaml: finetune: null), so {FIGURE} will not be "
            f"there. Compare by the base model: --figure {BASE_FIGURE}"
        )
    path, _, key = figure.partition(":")
    files = [out for stage in read_stages(root, until) for out in stage.outs]
    if path not in files:
        written = ", ".join(out for out in files if out.startswith(("metrics/", "results/")))
        raise ParamsError(f"figure: {path} is not written up to {until}; these are: {written}")
    if not key or ((root / path).is_file() and figure_of(root, figure) is None):
        raise ParamsError(f"figure: {path} has no number {key!r}; expected FILE:KEY, as {FIGURE}")


def figure_of(root: Path, figure: str) -> float | None:
    """The value at FILE:KEY.KEY… in the metrics of a trial; None where it is missing."""
    path, _, keys = figure.partition(":")
    try:
        value = json.loads((root / path).read_text(encoding="utf-8"))
        for key in keys.split("."):
            value = value[key]
        return float(value)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def row(trial: Trial) -> dict[str, Any]:
    """A row of the table artifact."""
    outcome = trial.said if trial.figure is None else trial.figure
    return {**trial.overrides, "figure": outcome, "experiment": trial.name}


def table(trials: Sequence[Trial], figure: str) -> list[str]:
    """What a person reads at the end."""
    words = [str(trial) for trial in trials]
    width = max(map(len, words))
    lines = [f"{len(trials)} trials by {figure} (lower is better)"]
    for text, trial in zip(words, trials, strict=True):
        figure_text = "failed" if trial.figure is None else f"{trial.figure:.4f}"
        lines.append(f"  {text:<{width}}  {figure_text:>8}  {trial.name}")
    best = trials[0]
    keep = f"dvc exp apply {best.name} && make run"
    return [
        *lines,
        f"best: {best} · {best.figure:.4f}",
        "",
        "Next",
        f"  {keep}  build and register with the best settings",
        f"  {SHOW:<{len(keep)}}  all of them, side by side",
    ]


def main(argv: list[str] | None = None) -> int:
    """Run the flow from a terminal; what a person can mend becomes one message and an exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.sweep", description=__doc__)
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE,VALUE…")
    parser.add_argument("--until", default="finetune", help="last stage that a trial builds")
    parser.add_argument("--figure", default=FIGURE, help=f"FILE:KEY to compare by; {FIGURE}")
    parser.add_argument("--wait", action="store_true", help="queue behind a run in this folder")
    parser.add_argument("--debug", action="store_true", help="tracebacks, and Prefect's own log")
    options = parser.parse_args(argv)
    log.set_name("sweep")
    return ended(
        lambda: run(Path.cwd(), options), "stopped; the workspace is as it was", options.debug
    )


def run(root: Path, options: argparse.Namespace) -> int:
    """Check what must hold before anything starts, run the flow, tell how it ended."""
    require_git(root)
    combinations(root, options.overrides)
    check_figure(root, options.until, options.figure)
    check_environment(root)
    with workspace_lock(root, options.wait, "a sweep"):
        server_answers = start_server(root)
        if not options.debug:
            log_to_file(root)
        server_answers()
        with tags(BEATS):
            state: Any = sweep(
                options.overrides, options.until, options.figure, options.wait, return_state=True
            )
        trials = state.result()
    print("\n".join(["", *table(trials, options.figure)]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
