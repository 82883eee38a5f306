"""MLflow's entities, as far as we read them, without importing it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

Entity = TypeVar("Entity")


class ViewType(IntEnum):
    """As mlflow.entities.ViewType."""

    ACTIVE_ONLY = 1
    DELETED_ONLY = 2
    ALL = 3


class Page(list[Entity]):
    """Some of the answers; `token` asks for those that follow."""

    def __init__(self, entities: Iterable[Entity], token: bytes | None) -> None:
        super().__init__(entities)
        self.token = token


@dataclass(frozen=True)
class Experiment:
    """As mlflow.entities.Experiment."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str


@dataclass(frozen=True)
class RunInfo:
    """As mlflow.entities.RunInfo; times in milliseconds."""

    run_id: str
    run_name: str
    experiment_id: str
    status: str
    start_time: int
    end_time: int | None
    lifecycle_stage: str
    artifact_uri: str


@dataclass(frozen=True)
class RunData:
    """As mlflow.entities.RunData: the last value of each metric."""

    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]


@dataclass(frozen=True)
class Run:
    """As mlflow.entities.Run, without its inputs and outputs."""

    info: RunInfo
    data: RunData


@dataclass(frozen=True)
class ModelVersion:
    """As mlflow.entities.model_registry.ModelVersion; a search leaves the aliases out."""

    name: str
    version: int
    creation_timestamp: int
    last_updated_timestamp: int
    description: str | None
    source: str
    run_id: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True)
class RegisteredModel:
    """As mlflow.entities.model_registry.RegisteredModel."""

    name: str
    creation_timestamp: int
    description: str | None
    tags: Mapping[str, str]
    aliases: Mapping[str, int]
