"""An event of the log as text parameters, and the chain that holds events together."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from minigpt.digest import text_digest
from minigpt.registry.promotion.condition import Condition

PIECE = 5000  # characters: MLflow cuts a parameter at 6,000 with no more than a warning
FORMAT = "1"

Kind = Literal["promoted", "refused", "rolled back", "taken down", "found", "pruned"]


@dataclass(frozen=True)
class Event:
    """One thing that was done, or refused, to a registered name."""

    number: int
    """1 for the first of its name."""
    name: str
    kind: Kind
    """`found`: champion was elsewhere than the log said; it was moved by other means, or a
    promotion was cut off before it moved it."""
    version: str | None
    """The version it is about; None where champion was found to be gone."""
    manifest: str
    """sha256 of that version's manifest: MLflow counts anew from 1 after a name was deleted."""
    before: str | None
    """The champion until then."""
    at: str
    """UTC, as ISO 8601."""
    by: str
    """The user's name on the machine where it was done."""
    forced: bool
    """A refusal was overruled."""
    reason: str | None
    conditions: tuple[Condition, ...]
    """What was asked of the version, and what was found."""
    previous: str
    """Digest of the event before; empty for the first."""
    documents: tuple[str, ...] = ()
    """Of a takedown: sha256 of each text that the version learned from; of many in `files` not."""
    files: tuple[str, ...] = ()
    """Of a takedown: sha256 of each file or archive that was taken down as a whole."""
    digest: str = ""
    run_id: str = ""
    """The MLflow run that holds it."""


def fields_of(event: Event) -> dict[str, str]:
    """What the digest is made of, as text; what is empty is left out."""
    values = {
        "format": FORMAT,
        "number": str(event.number),
        "name": event.name,
        "kind": event.kind,
        "version": event.version,
        "manifest": event.manifest,
        "before": event.before,
        "at": event.at,
        "by": event.by,
        "forced": json.dumps(event.forced),
        "reason": event.reason,
        "conditions": json.dumps(
            # An empty remedy is left out: events without any are as they always were.
            [[c.about, c.found, c.holds, *filter(None, [c.remedy])] for c in event.conditions],
            ensure_ascii=False,
        ),
        "previous": event.previous,
        "documents": " ".join(event.documents),
        "files": " ".join(event.files),
    }
    return {key: text for key, text in values.items() if text}


def event_from(fields: Mapping[str, str], run_id: str) -> Event:
    """The event that `fields_of` took apart.

    Raises:
        KeyError, TypeError, ValueError: a field is missing or holds something else.
    """
    kind: Any = fields["kind"]
    if kind not in get_args(Kind) or fields["format"] != FORMAT:
        raise ValueError(f"kind {kind}, format {fields['format']}")
    return Event(
        number=int(fields["number"]),
        name=fields["name"],
        kind=kind,
        version=fields.get("version"),
        manifest=fields.get("manifest", ""),
        before=fields.get("before"),
        at=fields["at"],
        by=fields["by"],
        forced=bool(json.loads(fields["forced"])),
        reason=fields.get("reason"),
        conditions=tuple(Condition(*entry) for entry in json.loads(fields["conditions"])),
        previous=fields.get("previous", ""),
        documents=tuple(fields.get("documents", "").split()),
        files=tuple(fields.get("files", "").split()),
        digest=fields["digest"],
        run_id=run_id,
    )


def digest_of(fields: Mapping[str, str]) -> str:
    """sha256 over every field but the digest itself."""
    covered = {key: text for key, text in fields.items() if key != "digest"}
    return text_digest([json.dumps(covered, sort_keys=True, ensure_ascii=False)])


def pieces(fields: Mapping[str, str]) -> dict[str, str]:
    """Each text under its key, the rest of a long one under `key.2`, `key.3` and so on."""
    return {
        f"{key}.{start // PIECE + 1}" if start else key: text[start : start + PIECE]
        for key, text in fields.items()
        for start in range(0, len(text), PIECE)
    }


def joined(params: Mapping[str, str]) -> dict[str, str]:
    """What `pieces` took apart. A piece that follows none stays, and spoils the digest."""
    texts: dict[str, str] = {}
    taken = set()
    for key in (key for key in params if "." not in key):
        parts = [key]
        while f"{key}.{len(parts) + 1}" in params:
            parts.append(f"{key}.{len(parts) + 1}")
        texts[key] = "".join(params[part] for part in parts)
        taken.update(parts)
    return texts | {key: text for key, text in params.items() if key not in taken}


def breaks(events: Sequence[Event], head: str | None) -> Iterator[str]:
    """Where a chain, oldest event first, does not hold. `head` is the digest it should end with."""
    previous, number = "", 0
    for event in events:
        if event.number <= number:
            yield f"there are two events {event.number} (run {event.run_id})"
        elif event.number > number + 1:
            last = event.number - 1
            one = last == number + 1
            yield (
                f"event {last} is missing" if one else f"events {number + 1} to {last} are missing"
            )
        elif event.previous != previous:
            yield f"event {event.number} does not follow event {number} (run {event.run_id})"
        previous, number = event.digest, event.number
    # Where an append was cut off, the event is there and the head still names the one before.
    if number > 1 and not head:
        yield "the mark of the newest event is gone: nobody can tell whether that is here"
    ends = {digest for event in events[-1:] for digest in (event.digest, event.previous)}
    if head and head not in ends:
        yield (
            f"the newest event is missing (it followed event {number})" if number else "it is gone"
        )
