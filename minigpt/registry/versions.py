"""The versions of a registered model, and what a person may call one."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from minigpt.registry import mutex
from minigpt.registry.registry import Registry
from minigpt.tracking.store import (
    clear_errors,
)

CHAMPION = "champion"
CHALLENGER = "challenger"
MODEL = "models/finetuned"  # the output that a version's model is
DIGEST = "minigpt.manifest_digest"
COMMIT = "minigpt.commit"
DIRTY = "minigpt.dirty"
BITS = "minigpt.bits_per_byte"  # of the fine-tuned model on the fine-tuning source
TAKEN_DOWN = "minigpt.taken_down"  # JSON: documents, reason, at
VERIFIED = "minigpt.verified"  # JSON: at, verdict


@dataclass(frozen=True)
class Version:
    """One registered version: one manifest digest."""

    name: str
    version: str
    """A number, as text: MLflow gives it as int or str, depending on the store."""
    digest: str
    """sha256 of its release/manifest.json."""
    commit: str
    """Of the checkout that registered it."""
    dirty: bool
    """That checkout differed from the commit; the version holds the patch."""
    aliases: tuple[str, ...]
    """Sorted: champion, challenger."""
    bits_per_byte: float | None
    """The fine-tuned model's, on the test works of the first fine-tuning source."""
    created: datetime
    run_id: str
    """The MLflow run whose artifacts are the version's."""
    taken_down: str | None = None
    """JSON: the digests of its training documents that were taken down, why and when."""
    verified: str | None = None
    """JSON: when it was last rebuilt with no difference, and the verdict."""


def list_versions(registry: Registry, name: str | None = None) -> list[Version]:
    """The versions of `name` (else of the project's model), oldest first; none without a store.

    Raises:
        RegistryError: the store cannot be read.
    """
    if registry.is_new:
        return []
    name = name or registry.name
    with clear_errors(registry.store.uri):
        entries = registry.store.client.search_model_versions(f"name = '{name}'")
        if not entries:
            return []
        # A version from a search comes without its aliases.
        aliases = aliases_in(registry, name)
    versions = [_version(entry, aliases) for entry in entries]
    return sorted(versions, key=lambda version: int(version.version))


def names_in(registry: Registry) -> list[str]:
    """Every registered name of the store, sorted.

    Raises:
        RegistryError: the store cannot be read.
    """
    if registry.is_new:
        return []
    names: set[str] = set()
    token: str | None = ""
    with clear_errors(registry.store.uri):
        while token is not None:
            page = registry.store.client.search_registered_models(page_token=token or None)
            names |= {str(model.name) for model in page}
            token = page.token or None
    return sorted(name for name in names if not name.startswith(mutex.PREFIX))


def champion_of(registry: Registry, name: str | None = None) -> Version | None:
    """The version of `name` (else of the project's model) that is champion, if there is one."""
    return next((v for v in list_versions(registry, name) if CHAMPION in v.aliases), None)


def aliases_in(registry: Registry, name: str) -> dict[str, str]:
    """Alias to version number of a registered model."""
    with clear_errors(registry.store.uri):
        aliases = registry.store.client.get_registered_model(name).aliases
    return {alias: str(number) for alias, number in aliases.items()}


def _version(entry: Any, aliases: dict[str, str]) -> Version:
    number, tags = str(entry.version), entry.tags
    return Version(
        name=entry.name,
        version=number,
        digest=tags.get(DIGEST, ""),
        commit=tags.get(COMMIT, ""),
        dirty=tags.get(DIRTY) == "true",
        aliases=tuple(sorted(alias for alias, owner in aliases.items() if owner == number)),
        bits_per_byte=float(tags[BITS]) if BITS in tags else None,
        created=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
        run_id=entry.run_id or "",
        taken_down=tags.get(TAKEN_DOWN),
        verified=tags.get(VERIFIED),
    )
