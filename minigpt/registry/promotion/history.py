"""What the log says about champion: which versions led to it, and whether it is where it should be.

An event is written before the alias is moved. So a promotion that was cut off between the two is in
the log and did not happen, which the next change notes; the other order could leave a champion that
nobody had promoted.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minigpt.registry.promotion.audit_event import Event
from minigpt.registry.promotion.audit_log import AuditLog, read_all
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version, champion_of, version_of

DECIDED = ("promoted", "rolled back")
MOVES = (*DECIDED, "found")  # the kinds that say where champion is


@dataclass(frozen=True)
class Log:
    """The log of a name, with what is to be said of it."""

    events: Sequence[Event] = ()
    """Oldest first."""
    problems: Sequence[str] = ()
    """What was changed or is missing."""
    stray: str | None = None
    """Where champion is, if it is not where the log says."""


def log_of(registry: Registry) -> Log:
    """The log of the project's model; empty where there is no store yet.

    Raises:
        RegistryError: the store cannot be read.
    """
    if registry.is_new:
        return Log()
    name = registry.name
    events, problems = read_all(registry, name)
    return Log(events, problems, difference(champion_of(registry, name), events))


def champions(events: Iterable[Event]) -> list[tuple[str, str]]:
    """(number, manifest) of the champions that led to the present one, which is the last.

    A rollback takes those after the restored one away, so a second goes one further back.
    """
    stack: list[tuple[str, str]] = []
    for event, entry in moves(events):
        if event.version is None:
            stack = []
        elif event.kind != "promoted" and entry in stack:
            while stack[-1] != entry:
                stack.pop()
        elif entry not in stack[-1:]:
            stack.append(entry)
    return stack


def was_champion(events: Iterable[Event], version: Version) -> bool:
    """Whether the log knows `version` as champion, ever."""
    return any(entry == (version.version, version.digest) for _, entry in moves(events))


def moves(events: Iterable[Event]) -> Iterator[tuple[Event, tuple[str, str]]]:
    """The events that say where champion is, each with its (number, manifest).

    Left out is a version that was found there in place of the one that the log named, and that
    nobody ever promoted: who moves an alias by hand makes no champion of what lies below it.
    """
    decided = set()
    for event in events:
        entry = (event.version or "", event.manifest)
        if event.kind in DECIDED:
            decided.add(entry)
        elif event.kind not in MOVES or (
            event.version and event.before is not None and entry not in decided
        ):
            continue
        yield event, entry


def rolled_back(events: Sequence[Event], version: Version) -> Event | None:
    """The rollback that took champion from `version`, if it has not been champion since."""
    for i, event in reversed(list(enumerate(events))):
        if event.kind in DECIDED and event.manifest == version.digest:
            return None
        taken_from = champions(events[:i])[-1:]
        # By what it is: the same may have been registered anew, under another number.
        if event.kind == "rolled back" and [d for _, d in taken_from] == [version.digest]:
            return event
    return None


def reconcile(audit: AuditLog, champion: Version | None) -> None:
    """Note where champion is, if the log says otherwise. Call it holding `only_changer`."""
    reason = difference(champion, audit.events)
    if reason is None:
        return
    known = champions(audit.events)[-1:]
    before = known[0][0] if known else None
    reason = reason if audit.events else "champion before the log began"
    audit.append("found", version=champion, before=before, reason=reason)


def opponent(
    registry: Registry, champion: Version | None, events: Sequence[Event]
) -> tuple[Version | None, tuple[Condition, ...]]:
    """The version to hold another against: who moves or deletes the alias does not choose it.

    That is the last champion by the log that is still registered, else the present one. One that is
    registered as something else lets nothing pass.
    """
    for number, manifest in reversed(champions(events)):
        named = version_of(registry, events[-1].name, number)
        if named is None:
            continue
        if named.digest != manifest:
            text = f"by the log, champion is version {number} with manifest {manifest[:12]}…; "
            text += f"version {number} is registered as {named.digest[:12] or 'nothing'}…"
            return champion, (Condition("champion", text, holds=False),)
        if champion and named.version == champion.version:
            break
        text = f"held against version {number}, the champion that the log names"
        return named, (Condition("champion", text, holds=True),)
    return champion, ()


def difference(champion: Version | None, events: Sequence[Event]) -> str | None:
    """What to say where champion is not the version that the log names; else None."""
    known = champions(events)[-1:]
    if known == ([(champion.version, champion.digest)] if champion else []):
        return None
    is_at = f"version {champion.version}" if champion else "no version"
    named = f"version {known[0][0]}" if known else "no version"
    if champion and is_at == named:
        is_at += f" (manifest {champion.digest[:12]}…)"
        named += f" (manifest {known[0][1][:12]}…)"
    return (
        f"champion is {is_at}, not {named}: a promotion was cut off before it moved champion, "
        "or champion was moved by other means"
    )
