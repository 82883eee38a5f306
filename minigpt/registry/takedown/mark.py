"""Mark a version that learned from what was taken down: in the log, as a tag and in its card."""

import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from minigpt.config import Config
from minigpt.registry.kept import kept_bytes
from minigpt.registry.lineage.index import index_of
from minigpt.registry.lineage.lineage import HELD_OUT, Holding
from minigpt.registry.mutex import only_changer
from minigpt.registry.promotion import events as log
from minigpt.registry.promotion.gate import Condition
from minigpt.registry.versions import TAKEN_DOWN, Version, versions_in
from minigpt.tracking.mlflow_tracker import MlflowTracker
from minigpt.tracking.store import Store, clear_errors

CARD = "README.md"
BEGIN, END = "<!-- taken down -->", "<!-- /taken down -->"
DESCRIPTION = 5000  # characters that MLflow's column holds
LOCKS = "lock."  # registered models that are locks (mutex.py)
NAMED = 20  # documents that the log and the card name one by one


class Note(Config):
    """The tag of a version that learned from what was taken down."""

    documents: tuple[str, ...] = ()
    """sha256 of each text."""
    reason: str = ""
    at: str = ""
    """UTC, as ISO 8601."""


def mark(store: Store, version: Version, holdings: Sequence[Holding], reason: str) -> None:
    """Mark a version; what it was marked for before stays. The same again changes nothing.

    The log is written first: a mark that nobody can explain is worse than a line too many.

    Raises:
        RegistryError: the store cannot be written, or another process changes this name.
    """
    with only_changer(store, version.name):
        now = next(v for v in versions_in(store, version.name) if v.version == version.version)
        before = _noted(now.taken_down)
        new = {h.sha256 for h in holdings} - set(before.documents)
        if new:
            fresh = [h for h in holdings if h.sha256 in new]
            log.append(
                store,
                version.name,
                "taken down",
                version=version,
                reason=reason,
                conditions=[Condition("trained on", what, False) for what in _named(fresh)],
            )
        reasons = [before.reason, *([reason] if new and reason not in before.reason else [])]
        note = Note(
            documents=tuple(sorted({*before.documents, *new})),
            reason="; ".join(filter(None, reasons)),
            at=datetime.now(UTC).isoformat(timespec="seconds") if new else before.at,
        )
        _set(store, version, note)


def mark_inherited(store: Store, name: str, number: str) -> None:
    """Mark a new version that learned from what was taken down before; call it under the lock.

    A params.yaml from before the takedown, or one that lost its exclusions, builds such a version.
    """
    marked = [v for each in names_in(store) for v in versions_in(store, each) if v.taken_down]
    if not marked:
        return
    version = next(v for v in versions_in(store, name) if v.version == number)
    learned = {d.sha256 for d in index_of(store, version) or () if d.split not in HELD_OUT}
    notes = [note for v in marked if learned.intersection((note := _noted(v.taken_down)).documents)]
    if notes:
        note = Note(
            documents=tuple(sorted(learned.intersection(d for n in notes for d in n.documents))),
            reason="; ".join(dict.fromkeys(n.reason for n in notes)),
            at=max(n.at for n in notes),
        )
        _set(store, version, note)


def names_in(store: Store) -> list[str]:
    """Every registered name of a store."""
    with clear_errors(store.uri):
        found = store.client.search_registered_models(max_results=1000)
    return sorted(str(model.name) for model in found if not model.name.startswith(LOCKS))


def notice(note: Note) -> str:
    """What the card says."""
    count = len(note.documents)
    what = "a document that was" if count == 1 else f"{count} documents that were"
    listed = ", ".join(f"`{digest}`" for digest in note.documents[:NAMED])
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return (
        f"> **Taken down.** This version learned from {what} taken down on "
        f"{note.at[:10]}: {note.reason}. It becomes champion only by "
        f"`--force --reason`. sha256 of the text: {listed}{more}."
    )


def with_notice(card: str, text: str) -> str:
    """The card with the notice below its metadata, in place of an earlier one."""
    if BEGIN in card and END in card:
        head, _, rest = card.partition(BEGIN)
        return f"{head}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}"
    end = card.find("\n---\n", 3) + len("\n---\n") if card.startswith("---\n") else 0
    return f"{card[:end]}\n{BEGIN}\n{text}\n{END}\n{card[end:]}"


def _set(store: Store, version: Version, note: Note) -> None:
    with clear_errors(store.uri):
        store.client.set_model_version_tag(
            version.name, version.version, TAKEN_DOWN, note.model_dump_json()
        )
    _note_in_card(store, version, notice(note))


def _noted(tag: str | None) -> Note:
    """What an earlier takedown noted; nothing of what cannot be read."""
    try:
        return Note.model_validate_json(tag) if tag else Note()
    except ValidationError:
        return Note()


def _named(holdings: Iterable[Holding]) -> list[str]:
    named = [f"{h.doc_id} (sha256 {h.sha256})" for h in holdings]
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    return [*named[:NAMED], *more]


def _note_in_card(store: Store, version: Version, text: str) -> None:
    kept = kept_bytes(store, version, CARD)
    if kept is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, CARD)
            path.write_text(with_notice(kept.decode(), text), encoding="utf-8", newline="\n")
            MlflowTracker(store, version.run_id, strict=True).artifact(path)
    with clear_errors(store.uri):
        entry = store.client.get_model_version(version.name, version.version)
        described = with_notice(entry.description or "", text)[:DESCRIPTION]
        store.client.update_model_version(version.name, version.version, described)
