"""`minigpt registry`: the versions of the model and who is champion."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.shared import (
    Commands,
    Json,
    project_registry,
    project_root,
    registry_that_knows,
    show_json,
    show_table,
    talk,
    tell,
)
from minigpt.errors import RegistryError

if TYPE_CHECKING:
    from minigpt.registry.promotion.audit_log import Event
    from minigpt.registry.promotion.promote import Promotion
    from minigpt.registry.versions import Version

NO_REASON = "no reason given"

app = Commands(
    no_args_is_help=True,
    help="Versions of the model. Examples: minigpt registry list · minigpt registry promote 3",
)


@app.command("list")
def show(as_json: Json = False) -> None:
    """The versions of this project's model, oldest first.

    Example: minigpt registry list
    """
    from minigpt.registry.promotion.history import log_of
    from minigpt.registry.refs import lost, none_registered
    from minigpt.registry.versions import CHAMPION, list_versions, lost_aliases

    registry = project_registry()
    versions = list_versions(registry)
    if as_json:
        show_json([facts(version) for version in versions])
    elif not versions:
        talk(none_registered(registry, registry.name))
    else:
        show_table(
            ("version", "alias", "bits per byte", "commit", "digest"),
            (
                (
                    f"{v.name} {v.version}",
                    ", ".join((*v.aliases, *(["taken down"] if v.taken_down else []))) or "-",
                    "-" if v.bits_per_byte is None else f"{v.bits_per_byte:.3f}",
                    v.commit[:7] + (" + patch" if v.dirty else "") or "-",
                    v.digest[:12] or "-",
                )
                for v in versions
            ),
        )
        if unnamed := [v.version for v in versions if not v.digest]:
            talk(f"registered by other means, with no digest: {', '.join(unnamed)}")
        deleted = lost_aliases(registry, registry.name, versions)
        for alias, number in deleted.items():
            talk(lost(registry.name, alias, number, versions[-1].version))
        if CHAMPION not in deleted and (stray := log_of(registry).stray):
            talk(f"{stray}. See: minigpt registry log")


@app.command()
def sync(
    wait: Annotated[bool, typer.Option(help="Queue behind a run in this folder.")] = False,
    as_json: Json = False,
) -> None:
    """Register what was built here, if the store lacks it, as challenger.

    Records that wait are delivered first, those for a store that is gone to this one.

    Example: minigpt registry sync
    """
    from minigpt.params import PARAMS, Params, load_params
    from minigpt.process import workspace_lock
    from minigpt.registry.register import register
    from minigpt.registry.registry import Registry
    from minigpt.tracking.delivery import deliver_all

    root = project_root()
    params = load_params(Params, root / PARAMS)
    with workspace_lock(root, wait=wait):  # while a stage writes, outputs are of two builds
        deliver_all(root, of_others=True)
        version = register(Registry(root, params.release.name))
    if as_json:
        show_json(facts(version) | {"alias": "challenger"})
    else:
        tell(f"{version.name} {version.version} · {', '.join(version.aliases)}")
        if "champion" not in version.aliases:
            talk("Next: minigpt registry promote challenger")


Force = Annotated[bool, typer.Option(help="Overrule a refusal; give a reason.")]
Reason = Annotated[str | None, typer.Option(help="Why it is done; it is logged.")]


@app.command()
def promote(
    reference: Annotated[str, typer.Argument(help="challenger, 3 …")] = "challenger",
    force: Force = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Make a version champion, if the gate allows it.

    Example: minigpt registry promote challenger
    """
    registry = registry_that_knows(reference)
    from minigpt.params import PARAMS, Params, load_params
    from minigpt.registry.promotion.promote import promote as move

    gate = load_params(Params, registry.root / PARAMS).gate
    done = move(registry, reference, gate, force, reason)
    if as_json:
        show_json(outcome(done))
        return
    name = f"{done.version.name} {done.version.version}"
    before = f" in place of version {done.before}" if done.moved and done.before else ""
    forced = " (forced: it does not meet all conditions)" if done.forced else ""
    tell(f"{name} is champion" + (before if done.moved else " already") + forced)
    for condition in sorted(done.conditions, key=lambda condition: condition.holds):
        about = condition.about if condition.holds else f"NOT {condition.about}"
        talk(f"  {about:<18} {condition.found}")
    if before:
        own = registry.name
        to = "" if done.version.name == own else f" --to {back_to(done, own)}"
        talk(f"To go back: minigpt registry rollback{to}")


@app.command()
def rollback(
    to: Annotated[str | None, typer.Option(help="An earlier champion: 2.")] = None,
    force: Force = False,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Make the champion before (or the one named) champion again.

    A second rollback goes one further back.

    Example: minigpt registry rollback --reason "it answers in verse"
    """
    registry = registry_that_knows(to or "champion")
    from minigpt.registry.promotion.promote import rollback as move
    from minigpt.tracking.origin import user

    done = move(registry, to, force, reason)
    if as_json:
        show_json(outcome(done))
        return
    version = done.version
    name = f"{version.name} {version.version}"
    if not done.moved:
        tell(f"{name} is champion already")
        return
    figure = "" if version.bits_per_byte is None else f", {version.bits_per_byte:.3f} bits per byte"
    registered = f"registered {version.created.astimezone():%Y-%m-%d %H:%M}"
    tell(f"restored {name} in place of version {done.before} ({registered}{figure})")
    talk(f"in the log: rolled back by {user()}, {reason or NO_REASON + ' (--reason gives one)'}")
    talk(
        f"version {done.before} stays registered. To undo: minigpt registry rollback "
        f"--to {back_to(done, registry.name)}"
    )


@app.command("log")
def show_log(as_json: Json = False) -> None:
    """Who promoted, refused, rolled back or took down which version, when and why.

    Each event is chained to the one before, so that one that was changed or is missing is named;
    then the exit code is 1.

    Example: minigpt registry log
    """
    from minigpt.registry.promotion.history import log_of

    history = log_of(project_registry())
    if as_json:
        show_json([asdict(event) for event in history.events])
    else:
        show_table(
            ("", "when", "what", "version", "by", "why"),
            (
                (
                    str(event.number),
                    f"{datetime.fromisoformat(event.at).astimezone():%Y-%m-%d %H:%M}",
                    event.kind + (" (forced)" if event.forced else ""),
                    " in place of ".join(n for n in (event.version, event.before) if n) or "-",
                    event.by,
                    why(event),
                )
                for event in history.events
            ),
        )
    problems = [f"the log is not whole: {problem}" for problem in history.problems]
    if history.stray:
        problems.append(
            f"{history.stray}. The next promotion notes it; to go back: minigpt registry promote N"
        )
    if problems:
        raise RegistryError("\n".join(problems))
    if history.events:
        events = "1 event" if len(history.events) == 1 else f"{len(history.events)} events"
        talk(f"{events}, chained: none was changed or is missing. Next: minigpt registry list")
    else:
        from minigpt.tracking.store import described

        where = described(project_root())
        next_ = "Next: minigpt registry promote challenger"
        talk(f"nothing was promoted or refused in {where} yet. {next_}")


@app.command()
def relocate() -> None:
    """Mend the store of a checkout that was moved.

    Example: minigpt registry relocate
    """
    from minigpt.tracking.relocate import relocate as mend

    root = project_root()
    talk(f"{mend(root)} locations now lie under {root}")


def facts(version: "Version") -> dict[str, Any]:
    """A version as JSON."""
    return {
        "name": version.name,
        "version": version.version,
        "aliases": list(version.aliases),
        "digest": version.digest,
        "commit": version.commit,
        "dirty": version.dirty,
        "bits_per_byte": version.bits_per_byte,
        "taken_down": version.taken_down is not None,
    }


def back_to(done: "Promotion", own: str) -> str:
    """What to type for the champion before."""
    from minigpt.registry.refs import shortest_ref

    return shortest_ref(done.version.name, done.before or "", own)


def outcome(done: "Promotion") -> dict[str, Any]:
    """What a promotion or a rollback did, as JSON."""
    did = {"moved": done.moved, "before": done.before, "forced": done.forced}
    return facts(done.version) | did | {"conditions": [asdict(c) for c in done.conditions]}


def why(event: "Event") -> str:
    """The reason that was given, and what spoke against it; only a gate's yes needs neither.

    A refusal tells the remedies too; for who was made champion against it they are of no use.
    """
    remedies = event.kind == "refused"
    against = [
        "; ".join(filter(None, [f"{c.about}: {c.found}", c.remedy if remedies else ""]))
        for c in event.conditions
        if not c.holds
    ]
    by_itself = "it meets the conditions" if event.kind == "promoted" else NO_REASON
    return " · ".join(filter(None, [event.reason, *against])) or by_itself
