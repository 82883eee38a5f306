"""What `make run` runs after set-up: the flow behind it, where there is anything to do."""

import argparse
import sys
import time
from pathlib import Path

import psutil

from minigpt import log
from minigpt.data.links import follow
from minigpt.git import require_git
from minigpt.params import PARAMS, Params, load_params
from minigpt.process import workspace_lock
from pipelines.closing import nothing_to_do
from pipelines.settled import settled
from pipelines.terminal import ended


def main(argv: list[str] | None = None) -> int:
    """Run the flow from a terminal; what a person can mend becomes one message and an exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.run", description=__doc__)
    parser.add_argument("--wait", action="store_true", help="queue behind a run in this folder")
    parser.add_argument("--debug", action="store_true", help="tracebacks, and Prefect's own log")
    options = parser.parse_args(argv)
    log.set_name("make run")
    return ended(
        lambda: run(Path.cwd(), options.wait, options.debug),
        "stopped; the same command goes on from here",
        options.debug,
    )


def run(root: Path, wait: bool, debug: bool) -> int:
    """Check what must hold before anything starts, do what is to be done, tell how it ended."""
    params = load_params(Params, root / PARAMS)
    require_git(root)
    with workspace_lock(root, wait, "make run"):
        missing: list[str] = []
        follow(root, params.sources, missing.append)  # before DVC is asked; the flow says it too
        if done := settled(root, params):
            for line in missing:
                log.say(line)
            seconds = time.time() - psutil.Process().create_time()  # imports take their share
            print(nothing_to_do(done.stages, done.standing, seconds))
            if done.refusal:
                print(log.printable(f"\n{done.refusal}"))
            return 0
        from pipelines.preflight import check_environment

        check_environment(root)
        from pipelines.release import run_flow  # with Prefect and MLflow it takes seconds

        return run_flow(root, wait, debug)


if __name__ == "__main__":
    sys.exit(main())
