"""`minigpt registry prune`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli import versions
from minigpt.cli.shared import Json, project_registry, show_json, show_table, talk, tell

if TYPE_CHECKING:
    from minigpt.registry.prune import Pruning


def add_to(app: typer.Typer) -> None:
    """Hang the command on `minigpt registry`."""
    del app
    versions.app.command()(prune)


def prune(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions stay.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it; else it is only said.")] = False,
    as_json: Json = False,
) -> None:
    """Remove old versions and free their files; without --yes only say which, and how much.

    Champion, challenger, whatever ever was champion and what was taken down stay. If it is cut
    off, the same command goes on.

    Example: minigpt registry prune --keep 5
    """
    from minigpt.registry.prune import plan_pruning
    from minigpt.registry.prune import prune as carry_out

    registry = project_registry()
    pruning = (carry_out if yes else plan_pruning)(registry, keep)
    if as_json:
        show_json(facts(pruning, registry.name, done=yes))
        return
    for reason, numbers in staying(pruning).items():
        talk(f"  stays: {', '.join(numbers)} ({reason})")
    if not (pruning.remove or pruning.unfinished):
        tell(f"no version of {registry.name} is to be removed")
        return
    show_table(
        ("version", "registered", "bytes"),
        (
            (
                f"{p.version.name} {p.version.version}",
                f"{p.version.created.astimezone():%Y-%m-%d %H:%M}",
                f"{p.bytes:,}",
            )
            for p in pruning.remove
        ),
    )
    if pruning.unfinished:
        tell(
            f"left of {', '.join(pruning.unfinished)}, which an earlier prune did not finish: "
            f"{pruning.unfinished_bytes:,} bytes"
        )
    count = len(pruning.remove)
    what = f"{count} version{'' if count == 1 else 's'}, {pruning.bytes / 1e6:,.1f} MB"
    if not yes:
        tell(f"would free: {what}")
        talk(f"nothing was changed. To do it: minigpt registry prune --keep {keep} --yes")
        return
    if pruning.left_to_server:
        tell(f"removed: {what}, once the server has collected them")
        talk(f"Run on the server: {collect(pruning)}")
    else:
        tell(f"removed: {what}")
    talk("Next: minigpt registry log")


def staying(pruning: "Pruning") -> dict[str, list[str]]:
    """Reason -> numbers of the versions that stay for it."""
    reasons: dict[str, list[str]] = {}
    for version, reason in pruning.stay:
        reasons.setdefault(reason, []).append(version.version)
    return reasons


def collect(pruning: "Pruning") -> str:
    """The command that removes from a server's disk what was deleted in its store."""
    runs = ",".join(run for run, _ in pruning.left_to_server if run)
    models = ",".join(model for _, model in pruning.left_to_server if model)
    parts = [f"--run-ids {runs}"] * bool(runs) + [f"--logged-model-ids {models}"] * bool(models)
    return " ".join(["mlflow gc", *parts])


def facts(pruning: "Pruning", name: str, done: bool) -> dict[str, Any]:
    """For scripts."""
    return {
        "name": name,
        "keep": pruning.keep,
        "done": done,
        "remove": [
            {"version": p.version.version, "digest": p.version.digest, "bytes": p.bytes}
            for p in pruning.remove
        ],
        "stay": [{"version": version.version, "because": why} for version, why in pruning.stay],
        "unfinished": list(pruning.unfinished),
        "bytes": pruning.bytes,
        "left_to_server": collect(pruning) if pruning.left_to_server else None,
    }
