"""The versions of a registered model, and what a person may call one."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from minigpt.errors import RegistryError
from minigpt.registry import mutex
from minigpt.registry.registry import Registry
from minigpt.tracking.paging import every_page
from minigpt.tracking.store_errors import clear_errors, mlflow_errors

CHAMPION = "champion"
CHALLENGER = "challenger"
MODEL = "models/finetuned"  # the output that a version's model is
DIGEST = "minigpt.manifest_digest"
COMMIT = "minigpt.commit"
DIRTY = "minigpt.dirty"
BITS = "minigpt.bits_per_byte"  # its model's, on the source that it is for
TAKEN_DOWN = "minigpt.taken_down"  # JSON: documents, reason, at
VERIFIED = "minigpt.verified"  # JSON: at, verdict


@dataclass(frozen=True)
class Version:
    """One registered version: one manifest digest."""

    name: str
    version: str
    """A number, as text: MLflow gives it as int or str, depending on the store."""
    digest: str
    """sha256 of its release/manifest.json; empty where it was registered by other means."""
    commit: str
    """Of the checkout that registered it; empty as well."""
    dirty: bool
    """That checkout differed from the commit; the version holds the patch."""
    aliases: tuple[str, ...]
    """Sorted: champion, challenger."""
    bits_per_byte: float | None
    """Its model's, on the test works of the first source that it is for."""
    created: datetime
    run_id: str
    """The MLflow run whose artifacts are the version's."""
    taken_down: str | None = None
    """JSON: the digests of its training documents that were taken down, why and when."""
    verified: str | None = None
    """JSON: when it was last rebuilt with no difference, and the verdict."""
    source: str = ""
    """Where its model lies."""
    description: str = ""
    """What MLflow's page shows: the first lines of its card."""

    def refuse_unnamed(self) -> None:
        """Refuse a version that was made in MLflow, not by us: it names nothing to check against.

        Raises:
            RegistryError: it has no digest.
        """
        if not self.digest:
            raise RegistryError(
                f"{self.name} {self.version} was registered by other means than minigpt: without "
                f"the tag {DIGEST} nothing says what it is made of. To register what was built "
                "here: minigpt registry sync"
            )


def list_versions(registry: Registry, name: str | None = None) -> list[Version]:
    """The versions of `name` (else of the project's model), oldest first; none without a store.

    Raises:
        RegistryError: the store cannot be read.
    """
    if registry.is_new:
        return []
    name = name or registry.name
    versions = list(_search(registry, f"name = '{name}'"))
    # A version from a search comes without its aliases.
    aliases = aliases_in(registry, name) if versions else {}
    return [_version(entry, aliases) for entry in versions]


def list_everything(registry: Registry) -> dict[str, list[Version]]:
    """Every registered name of the store, sorted, with its versions, oldest first.

    Raises:
        RegistryError: the store cannot be read.
    """
    if registry.is_new:
        return {}
    entries = list(_search(registry))
    aliases = {str(model.name): _as_text(model.aliases) for model in _models(registry)}
    versions: dict[str, list[Version]] = {name: [] for name in sorted(aliases)}
    for entry in entries:
        if entry.name in versions:
            versions[entry.name].append(_version(entry, aliases[entry.name]))
    return versions


def champion_of(registry: Registry, name: str | None = None) -> Version | None:
    """The version of `name` (else of the project's model) that is champion, if there is one.

    It is asked for by its alias: what is decided against champion depends on no search.

    Raises:
        RegistryError: the store cannot be read.
    """
    if registry.is_new:
        return None
    name = name or registry.name
    aliases = aliases_in(registry, name)
    return version_of(registry, name, aliases[CHAMPION], aliases) if CHAMPION in aliases else None


def version_of(
    registry: Registry, name: str, number: str, aliases: Mapping[str, str] | None = None
) -> Version | None:
    """One version by its number; None where there is none (any more).

    Raises:
        RegistryError: the store cannot be read.
    """
    if aliases is None:
        aliases = aliases_in(registry, name)
    with clear_errors(registry.store.uri):
        try:
            entry = registry.store.client.get_model_version(name, number)
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    return _version(entry, aliases)


def aliases_in(registry: Registry, name: str) -> dict[str, str]:
    """Alias to version number of a registered model; nothing where no version has that name."""
    with clear_errors(registry.store.uri):
        try:
            return _as_text(registry.store.client.get_registered_model(name).aliases)
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def lost_aliases(registry: Registry, name: str, versions: Iterable[Version]) -> dict[str, str]:
    """Alias to number of those of `name` that point to none of its `versions`: it was deleted.

    Raises:
        RegistryError: the store cannot be read.
    """
    known = {version.version for version in versions}
    aliases = aliases_in(registry, name)
    return {alias: number for alias, number in sorted(aliases.items()) if number not in known}


def _search(registry: Registry, query: str = "") -> Iterator[Any]:
    """Versions by name and number: in that order a page misses none that is changed meanwhile."""
    with clear_errors(registry.store.uri):
        yield from every_page(
            registry.store.client.search_model_versions,
            query,
            order_by=["name ASC", "version_number ASC"],
        )


def _models(registry: Registry) -> Iterator[Any]:
    """Registered models that are no locks."""
    with clear_errors(registry.store.uri):
        for model in every_page(registry.store.client.search_registered_models):
            if not model.name.startswith(mutex.PREFIX):
                yield model


def _as_text(aliases: Mapping[str, Any]) -> dict[str, str]:
    return {alias: str(number) for alias, number in aliases.items()}


def _figure(entry: Any) -> float | None:
    """The bits per byte that a version is tagged with.

    Raises:
        RegistryError: the tag was edited, and is no number.
    """
    text = entry.tags.get(BITS)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise RegistryError(
            f"{entry.name} {entry.version}: its tag {BITS} is {text!r}, not a number. Put it back "
            "in MLflow (the metric is in the version's run), or delete the tag"
        ) from error


def _version(entry: Any, aliases: Mapping[str, str]) -> Version:
    number, tags = str(entry.version), entry.tags
    return Version(
        name=entry.name,
        version=number,
        digest=tags.get(DIGEST, ""),
        commit=tags.get(COMMIT, ""),
        dirty=tags.get(DIRTY) == "true",
        aliases=tuple(sorted(alias for alias, aliased in aliases.items() if aliased == number)),
        bits_per_byte=_figure(entry),
        created=datetime.fromtimestamp(entry.creation_timestamp / 1000, UTC),
        run_id=entry.run_id or "",
        taken_down=tags.get(TAKEN_DOWN),
        verified=tags.get(VERIFIED),
        source=entry.source or "",
        description=entry.description or "",
    )
