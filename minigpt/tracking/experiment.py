"""What MLflow's pages say of our experiments, and which of its two kinds they are."""

from typing import TYPE_CHECKING

from minigpt.errors import RegistryError
from minigpt.tracking.address import shown

if TYPE_CHECKING:
    from minigpt.tracking.store import Store

KIND, DESCRIPTION = "mlflow.experimentKind", "mlflow.note.content"
MACHINE_LEARNING = "custom_model_development"  # the other one is genai_development
RUNS = "One run a pipeline run; below it one for each stage that ran, and one for the registration."


def tags(description: str = RUNS) -> dict[str, str]:
    """What an experiment of ours is made with."""
    return {KIND: MACHINE_LEARNING, DESCRIPTION: description}


def prepare(store: "Store", description: str = RUNS) -> None:
    """Before a run is begun: give an older experiment the tags that it lacks.

    Raises:
        RegistryError: a person deleted the experiment; it can be restored.
    """
    experiment = store.client.mlflow.get_experiment(store.experiment_id)
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"{shown(store.uri)}: the experiment {experiment.name} was deleted there. To restore "
            f"it: mlflow experiments restore --experiment-id {store.experiment_id}"
        )
    for key, value in tags(description).items():
        if key not in experiment.tags:  # else a person chose it
            store.client.set_experiment_tag(store.experiment_id, key, value)
