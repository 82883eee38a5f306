"""Mark a version that learned from what was taken down: in the log, as a tag and in its card."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from minigpt.data.document import Document
from minigpt.errors import RegistryError
from minigpt.registry.artifacts import read_artifact, write_artifact
from minigpt.registry.card import DESCRIBED
from minigpt.registry.lineage.index import INDEX, file_of, index_of
from minigpt.registry.lineage.trace import HELD_OUT, Holding
from minigpt.registry.mutex import only_changer
from minigpt.registry.promotion import audit_log as log
from minigpt.registry.promotion.gate import Condition
from minigpt.registry.registry import Registry
from minigpt.registry.revocation import Revocation, read_revocation
from minigpt.registry.versions import TAKEN_DOWN, Version, list_versions, names_in
from minigpt.tracking.store import clear_errors

CARD = "README.md"
BEGIN, END = "<!-- taken down -->", "<!-- /taken down -->"
AND = "; "  # between two reasons
NAMED = 20  # documents that the log and the card name one by one


def revoke(
    registry: Registry,
    version: Version,
    holdings: Sequence[Holding],
    reason: str,
    files: Collection[str] = (),
) -> None:
    """Mark a version; what it was marked for before stays. The same again changes nothing.

    `files` are the digests of files or archives that were asked for as a whole. The log is written
    first: a mark that nobody can explain is worse than a line without its mark.

    Raises:
        RegistryError: the store cannot be written, or another process changes this name.
    """
    with only_changer(registry, version.name):
        now = next(v for v in list_versions(registry, version.name) if v.version == version.version)
        before = read_revocation(now.taken_down)
        new = {h.sha256 for h in holdings} - set(before.documents)
        if new:
            fresh = [h for h in holdings if h.sha256 in new]
            _log(registry, version, reason, fresh)
        reasons = [*before.reason.split(AND), *([reason] if new else [])]
        note = Revocation(
            documents=tuple(sorted({*before.documents, *new})),
            files=tuple(sorted({*before.files, *(h.file for h in holdings if h.file in files)})),
            reason=AND.join(dict.fromkeys(filter(None, reasons))),
            at=datetime.now(UTC).isoformat(timespec="seconds") if new else before.at,
        )
        _set(registry, version, note)


def revoke_inherited(registry: Registry, number: str) -> None:
    """Mark a version that learned from what was taken down before, once; call it under the lock.

    A params.yaml from before the takedown, or one that lost its exclusions, builds such a version.

    Raises:
        RegistryError: its index is gone, so that nobody can tell, or the store cannot be written.
    """
    name = registry.name
    version = next(v for v in list_versions(registry) if v.version == number)
    if version.taken_down is not None:
        return
    marked = [
        v for other in names_in(registry) for v in list_versions(registry, other) if v.taken_down
    ]
    if not marked:
        return
    index = index_of(registry, version)
    if index is None:
        raise RegistryError(
            f"{name} {number}: its {INDEX} is gone: nobody can tell whether it learned from what "
            "was taken down. Put the store's files back from a copy; or delete the version in "
            "MLflow, then: minigpt registry sync"
        )
    trained = [document for document in index if document.split not in HELD_OUT]
    notes = [
        n for n in (read_revocation(v.taken_down) for v in marked) if any(map(n.names, trained))
    ]
    if notes:
        learned = [d for d in trained if any(n.names(d) for n in notes)]
        reason = AND.join(dict.fromkeys(r for n in notes for r in n.reason.split(AND)))
        note = Revocation(
            documents=tuple(sorted({d.sha256 for d in learned})),
            files=tuple(
                sorted({file_of(d) for d in learned} & {f for n in notes for f in n.files})
            ),
            reason=reason,
            at=max(n.at for n in notes),
        )
        _log(registry, version, f"inherited: {reason}", learned)
        _set(registry, version, note)


def notice(note: Revocation) -> str:
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


def _set(registry: Registry, version: Version, note: Revocation) -> None:
    with clear_errors(registry.store.uri):
        registry.store.client.set_model_version_tag(
            version.name, version.version, TAKEN_DOWN, note.model_dump_json(exclude_defaults=True)
        )
    _note_in_card(registry, version, notice(note))


def _log(
    registry: Registry, version: Version, reason: str, documents: Iterable[Holding | Document]
) -> None:
    """Once: a mark that was cut off behind its line finds that line there."""
    said = (version.version, version.digest, reason)
    conditions = tuple(Condition("trained on", what, False) for what in _named(documents))
    if any(
        event.kind == "taken down"
        and (event.version, event.manifest, event.reason) == said
        and event.conditions == conditions
        for event in log.read_all(registry, version.name)[0]
    ):
        return
    log.append(
        registry, version.name, "taken down", version=version, reason=reason, conditions=conditions
    )


def _named(documents: Iterable[Holding | Document]) -> list[str]:
    named = [f"{d.doc_id} (sha256 {d.sha256})" for d in documents]
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    return [*named[:NAMED], *more]


def _note_in_card(registry: Registry, version: Version, text: str) -> None:
    if (card := read_artifact(registry, version, CARD)) is not None:
        write_artifact(registry, version, CARD, with_notice(card.decode(), text).encode())
    with clear_errors(registry.store.uri):
        entry = registry.store.client.get_model_version(version.name, version.version)
        described = with_notice(entry.description or "", text)[:DESCRIBED]
        registry.store.client.update_model_version(version.name, version.version, described)
