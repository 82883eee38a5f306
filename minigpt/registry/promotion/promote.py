"""Move `champion`: forward where the gate allows it, back to one that was champion before."""

from collections.abc import Sequence
from dataclasses import dataclass

from minigpt.errors import GateRefusedError, ParamsError, RegistryError
from minigpt.registry.config import GateConfig
from minigpt.registry.contents import contents_of
from minigpt.registry.mutex import only_changer
from minigpt.registry.promotion import audit_log as log
from minigpt.registry.promotion.audit_log import Event, Kind
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.promotion.gate import decide, refusal
from minigpt.registry.promotion.history import (
    champions,
    difference,
    opponent,
    reconcile,
    rolled_back,
    was_champion,
)
from minigpt.registry.promotion.taken_down import revocation_of
from minigpt.registry.refs import find_version, shortest_ref
from minigpt.registry.registry import Registry
from minigpt.registry.versions import CHAMPION, Version, champion_of, version_of
from minigpt.tracking.origin import user
from minigpt.tracking.store_errors import clear_errors


@dataclass(frozen=True)
class Promotion:
    """What a promotion or a rollback did."""

    version: Version
    before: str | None
    """The champion's number until then."""
    moved: bool
    """False: the version was champion already."""
    forced: bool
    """A refusal was overruled."""
    conditions: tuple[Condition, ...]
    """What was asked of the version; nothing if it was champion already."""


def promote(
    registry: Registry,
    ref: str,
    gate: GateConfig,
    force: bool = False,
    reason: str | None = None,
) -> Promotion:
    """Make the version that `ref` names champion of its name, if the gate allows it.

    `force` overrules a refusal and needs a `reason`. A promotion and a refusal are logged.

    Raises:
        GateRefusedError: it may not; the message says why. Champion is who it was.
        RegistryError: there is no such version, its files are gone, or another promotion was
            quicker.
        ParamsError: the reason is empty, or a refusal is to be overruled and none is given.
    """
    _refuse_empty(reason)
    version = find_version(registry, ref)
    champion = champion_of(registry, version.name)
    if champion and champion.version == version.version:
        return Promotion(version, champion.version, moved=False, forced=False, conditions=())
    other, conditions = _conditions(registry, version, champion, gate, force)
    refused = not all(condition.holds for condition in conditions)
    text = refusal(version, other, conditions, registry.name) if refused else None
    return _change(registry, "promoted", version, champion, conditions, text, force, reason)


def refused_again(registry: Registry, version: Version, gate: GateConfig) -> str | None:
    """Why `version` is refused, where the log ends with that and the gate says the same now.

    None where a promotion would move champion or write to the log. Asking changes nothing.

    Raises:
        RegistryError: the files of the version or of the champion are gone, or the store cannot be
            read.
    """
    events = log.read_all(registry, version.name)[0]
    champion = champion_of(registry, version.name)
    before = champion.version if champion else None
    if not events or events[-1].kind != "refused" or difference(champion, events) is not None:
        return None
    other, conditions = _conditions(registry, version, champion, gate, force=False)
    if not _said_already(events, version, before, conditions):
        return None
    return refusal(version, other, conditions, registry.name)


def rollback(
    registry: Registry,
    to: str | None = None,
    force: bool = False,
    reason: str | None = None,
) -> Promotion:
    """Make the champion before, or the earlier one that `to` names, champion again.

    `force` overrules a refusal (it was taken down, it never was champion, the log is not whole) and
    needs a `reason`. A rollback and a refusal are logged.

    Raises:
        GateRefusedError: it may not; the message says why. Champion is who it was.
        RegistryError: there is no such version, its files are gone, or another process changed
            champion meanwhile.
        ParamsError: the reason is empty, or a refusal is to be overruled and none is given.
    """
    _refuse_empty(reason)
    name = registry.name
    version = find_version(registry, to or CHAMPION)  # an unknown one is named first
    champion = champion_of(registry, version.name)
    events, problems = log.read_all(registry, version.name)
    if champion is None:
        raise RegistryError(
            f"{version.name} has no champion, so there is nothing to roll back. "
            f"Run: minigpt registry promote {shortest_ref(version.name, version.version, name)}"
        )
    if to is None:
        version = _before(registry, champion, events, problems)
    if champion.version == version.version:
        return Promotion(version, champion.version, moved=False, forced=False, conditions=())
    contents_of(registry, version).check_stored()
    conditions = (
        *_taken_down(registry, version),
        *(Condition("log", problem, False) for problem in problems),
        Condition(
            "earlier champion",
            "it was champion before" if was_champion(events, version) else "it never was champion",
            was_champion(events, version),
        ),
    )
    refused = not all(condition.holds for condition in conditions)
    text = _refusal(version, champion, conditions, events, name) if refused else None
    return _change(registry, "rolled back", version, champion, conditions, text, force, reason)


def _change(
    registry: Registry,
    kind: Kind,
    version: Version,
    champion: Version | None,
    conditions: Sequence[Condition],
    refused: str | None,
    force: bool,
    reason: str | None,
) -> Promotion:
    """Log what was decided about `version`, then do it, if champion is still `champion`."""
    forced = refused is not None and force
    if forced and not (reason and reason.strip()):
        raise ParamsError(
            f'{version.name} {version.version}: --force overrules a refusal and needs --reason "…" '
            "(it is logged)"
        )
    before = champion.version if champion else None
    with only_changer(registry, version.name) as lease:
        _refuse_overtaken(registry, version, before)
        audit = log.AuditLog(registry, version.name)
        done: Kind = kind if refused is None or forced else "refused"
        if done != "refused":
            _refuse_gap(audit, forced)
        if done != "refused" or not champions(audit.events):
            reconcile(audit, champion)  # a refusal makes no champion of what somebody moved there
        if done != "refused" or not _said_already(audit.events, version, before, conditions):
            audit.append(
                done,
                version=version,
                before=before,
                forced=forced,
                reason=reason,
                conditions=conditions,
            )
        if done == "refused":
            raise GateRefusedError(refused)
        lease.refuse_lost()
        with clear_errors(registry.store.uri):
            registry.store.client.set_registered_model_alias(
                version.name, CHAMPION, version.version
            )
        moved = version_of(registry, version.name, version.version)
    return Promotion(moved or version, before, True, forced, tuple(conditions))


def _refuse_empty(reason: str | None) -> None:
    """An unset shell variable is no reason."""
    if reason is not None and not reason.strip():
        raise ParamsError("--reason is empty; give it words, or leave it out")


def _refuse_gap(audit: log.AuditLog, forced: bool) -> None:
    """What was whole when it was decided may be so no more."""
    if audit.problems and not forced:
        raise RegistryError(
            f"the log was changed meanwhile ({'; '.join(audit.problems)}). Nothing was changed. "
            "See: minigpt registry log"
        )


def _refuse_overtaken(registry: Registry, version: Version, before: str | None) -> None:
    """What was decided holds for the champion and the version as they were then."""
    champion = champion_of(registry, version.name)  # None also where that version was deleted
    now = champion.version if champion else None
    present = version_of(registry, version.name, version.version)
    what = None
    if now != before:
        what = f"version {now} was made champion" if now else "champion was taken away"
    elif present is None:
        what = f"version {version.version} was deleted"
    elif present.taken_down != version.taken_down:
        what = f"version {version.version} was taken down"
    if what:
        raise RegistryError(
            f"{version.name}: {what} meanwhile. Nothing was changed. See: minigpt registry list"
        )


def _said_already(
    events: Sequence[Event], version: Version, before: str | None, conditions: Sequence[Condition]
) -> bool:
    """Whether the newest event is this same refusal: a nightly run repeats it night after night."""
    return any(
        (event.kind, event.version, event.manifest, event.before, event.by, event.conditions)
        == ("refused", version.version, version.digest, before, user(), tuple(conditions))
        for event in events[-1:]
    )


def _conditions(
    registry: Registry,
    version: Version,
    champion: Version | None,
    gate: GateConfig,
    force: bool,
) -> tuple[Version | None, tuple[Condition, ...]]:
    """The version that one which is to be champion is held against, and what is asked of it."""
    contents_of(registry, version).check_stored()
    events, problems = log.read_all(registry, version.name)
    other, noted = opponent(registry, champion, events)
    return other, (
        *_taken_down(registry, version),
        *(Condition("log", problem, False) for problem in problems),
        *_rolled_back(events, version),
        *noted,
        *_decided(registry, version, other, gate, force),
    )


def _decided(
    registry: Registry,
    version: Version,
    champion: Version | None,
    gate: GateConfig,
    force: bool,
) -> tuple[Condition, ...]:
    """What the gate says; where it cannot be asked, that is a refusal to whom `force` overrules."""
    try:
        return decide(registry, version, champion, gate)
    except RegistryError as error:
        if not force:
            raise
        return (Condition("gate", str(error), holds=False),)


def _taken_down(registry: Registry, version: Version) -> tuple[Condition, ...]:
    """By the log too: the version's own tag can be deleted, and a number or a name given anew."""
    takedowns, problems = log.takedowns(registry)
    spoilt = tuple(Condition("log", problem, holds=False) for problem in problems)
    note = revocation_of(registry, version, takedowns)
    if note is None:
        return spoilt
    text = "trained on documents that were taken down"
    if count := len(note.documents):
        what = "a document" if count == 1 else f"{count} documents"
        text = f"trained on {what} taken down on {note.at[:10]}: {note.reason}"
    return (*spoilt, Condition("taken down", text, holds=False))


def _rolled_back(events: Sequence[Event], version: Version) -> tuple[Condition, ...]:
    """Else the next release would promote again what a person has just taken back."""
    event = rolled_back(events, version)
    if event is None:
        return ()
    why = f": {event.reason}" if event.reason else ""
    text = f"{event.by} took champion from it on {event.at[:10]}{why}"
    return (Condition("rolled back", text, holds=False),)


def _before(
    registry: Registry, champion: Version, events: Sequence[Event], problems: Sequence[str]
) -> Version:
    """The champion before, by the log."""
    if problems:
        raise RegistryError(
            f"the log of {champion.name} is not whole, so it cannot say who was champion before "
            f"({'; '.join(problems)}). Name the version: minigpt registry rollback --to N "
            '--force --reason "…" (see: minigpt registry log)'
        )
    known = champions(events)
    if known[-1:] == [(champion.version, champion.digest)]:
        known = known[:-1]  # else champion was moved by other means, from the one that is last
    if not known:
        raise RegistryError(
            f"no version of {champion.name} was champion before version {champion.version}, by the "
            "log. See: minigpt registry log; to name one: minigpt registry rollback --to N"
        )
    version = version_of(registry, champion.name, known[-1][0])
    if version is not None and version.digest == known[-1][1]:
        return version
    raise RegistryError(
        f"{champion.name} {known[-1][0]} was champion before, and is no longer registered. "
        "Name another: minigpt registry rollback --to N (see: minigpt registry log)"
    )


def _refusal(
    version: Version,
    champion: Version,
    conditions: Sequence[Condition],
    events: Sequence[Event],
    name: str,
) -> str:
    lines = [
        f"refused: version {version.version} is not restored in place of champion "
        f"(version {champion.version})",
        *(f"  {c.about:<18} {c.found}" for c in conditions if not c.holds),
    ]
    others = sorted(
        {number for number, _ in champions(events)} - {version.version, champion.version}, key=int
    )
    if others:
        lines.append(f"Other champions before: {', '.join(others)}.")
    lines.append(
        "Nothing was changed. To overrule: minigpt registry rollback "
        f"--to {shortest_ref(version.name, version.version, name)} "
        '--force --reason "…" (it is logged).'
    )
    return "\n".join(lines)
