"""What is left of a version that was pruned: who removed it and when, as a tag of its name."""

from pydantic import ValidationError

from minigpt.config import Config
from minigpt.registry.registry import Registry
from minigpt.tracking.store_errors import clear_errors, mlflow_errors

PRUNED = "minigpt.pruned."  # tag of the registered model; the version's number follows


class Pruned(Config):
    """A version that was pruned; the log has an event of it too."""

    at: str = ""
    """UTC, as ISO 8601."""
    by: str = ""
    """The user's name on the machine where it was done."""
    digest: str = ""
    """sha256 of its manifest."""
    run: str = ""
    """The run whose files were its own; empty where another version has them too."""
    model: str = ""
    """Its logged model; empty where another version has it too."""
    freed: bool = False
    """Its files are gone. False: the removal was cut off."""


def pruned_in(registry: Registry, name: str) -> dict[str, Pruned]:
    """Number -> what is left of it, of the pruned versions of a name.

    Raises:
        RegistryError: the store cannot be read.
    """
    with clear_errors(registry.store.uri):
        try:
            tags = dict(registry.store.client.get_registered_model(name).tags)
        except mlflow_errors() as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
    pruned = {}
    for key in sorted(tag for tag in tags if tag.startswith(PRUNED)):
        try:
            pruned[key.removeprefix(PRUNED)] = Pruned.model_validate_json(tags[key])
        except ValidationError:
            continue  # not one of ours
    return pruned


def note_pruned(registry: Registry, name: str, number: str, pruned: Pruned) -> None:
    """Write what is left of a version.

    Raises:
        RegistryError: the store cannot be written.
    """
    with clear_errors(registry.store.uri):
        registry.store.client.set_registered_model_tag(
            name, f"{PRUNED}{number}", pruned.model_dump_json()
        )
