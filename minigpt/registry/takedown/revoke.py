"""Mark a version that learned from what was taken down: in the log, as a tag and in its card."""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime

from minigpt.errors import RegistryError
from minigpt.registry.artifacts import read_artifact, write_artifact
from minigpt.registry.card import DESCRIBED
from minigpt.registry.lineage.index import file_of, index_of
from minigpt.registry.lineage.trace import HELD_OUT, Holding
from minigpt.registry.mutex import only_changer
from minigpt.registry.promotion import audit_log as log
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.promotion.taken_down import revocations, what_of
from minigpt.registry.registry import Registry
from minigpt.registry.revocation import AND, INHERITED, Revocation, read_revocation
from minigpt.registry.versions import TAKEN_DOWN, Version, list_versions, version_of
from minigpt.release.document_index import INDEX
from minigpt.tracking.store_errors import clear_errors

CARD = "README.md"
BEGIN, END = "<!-- taken down -->", "<!-- /taken down -->"
EACH = 1000
"""Texts of a file that the log names each: the same text may come in another file."""
NAMED = 20  # documents that the log and the card name one by one


def revoke(
    registry: Registry,
    trained: Iterable[tuple[Version, Sequence[Holding]]],
    reason: str,
    files: Collection[str] = (),
) -> None:
    """Mark versions; what they were marked for before stays. The same again changes nothing.

    `files` are the digests of files or archives that were asked for as a whole. The log is written
    first: a mark that nobody can explain is worse than a line without its mark.

    Raises:
        RegistryError: the store cannot be written.
    """
    by_name: dict[str, dict[str, Sequence[Holding]]] = {}
    for version, holdings in trained:
        by_name.setdefault(version.name, {})[version.version] = holdings
    for name, holdings_of in by_name.items():
        with only_changer(registry, name):
            audit = log.AuditLog(registry, name)
            for version in list_versions(registry, name):
                if version.version in holdings_of:
                    _revoke(registry, audit, version, holdings_of[version.version], reason, files)


def _revoke(
    registry: Registry,
    audit: log.AuditLog,
    version: Version,
    holdings: Sequence[Holding],
    reason: str,
    files: Collection[str],
) -> None:
    before = read_revocation(version.taken_down)
    new = {h.sha256 for h in holdings} - set(before.documents)
    if new:
        added = [(h.doc_id, h.sha256, h.file) for h in holdings if h.sha256 in new]
        _log(audit, version, reason, added, files)
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
    version = version_of(registry, name, number)
    if version is None or version.taken_down is not None:
        return
    if not (noted := list(revocations(registry, log.takedowns(registry)[0]))):
        return
    index = index_of(registry, version)
    if index is None:
        raise RegistryError(
            f"{name} {number}: its {INDEX} is gone: nobody can tell whether it learned from what "
            "was taken down. Put the store's files back from a copy; or delete the version in "
            "MLflow, then: minigpt registry sync"
        )
    note = what_of(version, noted, index)
    if note is None:
        return
    trained = [d for d in index if d.split not in HELD_OUT]
    named = [(d.doc_id, d.sha256, file_of(d)) for d in trained if note.names(d)]
    _log(log.AuditLog(registry, name), version, f"{INHERITED}{note.reason}", named, note.files)
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
    audit: log.AuditLog,
    version: Version,
    reason: str,
    documents: Sequence[tuple[str, str, str]],
    files: Collection[str],
) -> None:
    """Write down documents (id, sha256, sha256 of the file) and the files that went as a whole.

    Once: a mark that was cut off behind its line finds that line there.
    """
    said = (version.version, version.digest, reason)
    named = [f"{doc_id} (sha256 {sha256})" for doc_id, sha256, _ in documents]
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    conditions = tuple(Condition("trained on", what, False) for what in [*named[:NAMED], *more])
    if any(
        event.kind == "taken down"
        and (event.version, event.manifest, event.reason) == said
        and event.conditions == conditions
        for event in audit.events
    ):
        return
    audit.append(
        "taken down",
        version=version,
        reason=reason,
        conditions=conditions,
        documents=[
            sha256 for _, sha256, file in documents if file not in files or len(documents) <= EACH
        ],
        files=sorted({file for _, _, file in documents if file in files}),
    )


def _note_in_card(registry: Registry, version: Version, text: str) -> None:
    if (card := read_artifact(registry, version, CARD)) is not None:
        write_artifact(registry, version, CARD, with_notice(card.decode(), text).encode())
    with clear_errors(registry.store.uri):
        described = with_notice(version.description, text)[:DESCRIBED]
        registry.store.client.update_model_version(version.name, version.version, described)
