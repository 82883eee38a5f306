"""What MLflow's sqlite store answers, read from its tables: `import mlflow` alone takes seconds.

Used for one revision of the tables only, on which a test holds every answer against MlflowClient's.
"""
# ruff: noqa: S608 - every name in a query is ours, every value is bound

import base64
import contextlib
import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from minigpt.tracking.entities import (
    Experiment,
    ModelVersion,
    Page,
    RegisteredModel,
    Run,
    RunData,
    RunInfo,
    ViewType,
)
from minigpt.tracking.filters import UnansweredError, direction, where

REVISION = "dc11669786a5"
"""Of the tables that our lock's MLflow makes (alembic_version)."""
BUSY_SECONDS = 20.0  # as MLflow's own sqlite busy_timeout

STAGES: dict[int, tuple[str, ...]] = {
    ViewType.ACTIVE_ONLY: ("active",),
    ViewType.DELETED_ONLY: ("deleted",),
    ViewType.ALL: ("active", "deleted"),
}
GONE = "Deleted_Internal"  # mlflow.entities.model_registry.model_version_stages
IS_PROMPT = "mlflow.prompt.is_prompt"  # a prompt is a registered model with this tag
MARKS = 500  # values in one query
MAX_RUNS, MAX_VERSIONS, MAX_MODELS = 50_000, 200_000, 1000  # most that one call may ask MLflow for

RUN = (
    "run_uuid as run_id, name as run_name, cast(experiment_id as text) as experiment_id, status, "
    "start_time, end_time, lifecycle_stage, artifact_uri"
)
VERSION = (
    "name, version, creation_time as creation_timestamp, last_updated_time as "
    "last_updated_timestamp, description, source, run_id"
)
MODEL = "name, creation_time as creation_timestamp, description"
ORDERS = {  # of versions: `order_by` -> columns
    (): "last_updated_time desc, name, version desc",
    ("name ASC", "version_number ASC"): "name, version",
}
PROMPTS = (
    "select name from registered_model_tags where workspace = 'default' "
    f"and key = '{IS_PROMPT}' and value = 'true'"
)

NAMED = re.compile(r"name = '([^'\"`\\]*)'")

Rows = list[dict[str, Any]]
Select = Callable[..., Rows]
"""A query and its values to the rows it finds."""
Tags = dict[tuple[str, int], dict[str, str]]
"""Name and number of a version -> its tags."""
Entity = TypeVar("Entity")


class Reader:
    """Methods of MlflowClient that only read, with its parameters and its order of answers.

    Each raises UnansweredError for what it does not know, what is not there included: MLflow says
    that in its own words.
    """

    def __init__(self, database: Path) -> None:
        self._uri = f"{database.absolute().as_uri()}?mode=ro"

    def knows(self) -> bool:
        """Whether the tables are of the revision that is known.

        Raises:
            sqlite3.Error: the file cannot be read.
        """
        with self._snapshot() as select:
            if not select("select 1 from sqlite_master where name = 'alembic_version'"):
                return False
            return select("select version_num from alembic_version") == [{"version_num": REVISION}]

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        """The experiment, even if it was deleted."""
        with self._snapshot() as select:
            rows = select(
                "select cast(experiment_id as text) as experiment_id, name, artifact_location, "
                "lifecycle_stage from experiments where workspace = 'default' and name = ?",
                name,
            )
        return Experiment(**rows[0]) if rows else None

    def get_run(self, run_id: str) -> Run:
        """A run, even if it was deleted."""
        with self._snapshot() as select:
            rows = select(f"select {RUN} from runs where run_uuid = ?", run_id)
            return _only(_runs(select, rows))

    def search_runs(
        self,
        experiment_ids: Sequence[str],
        filter_string: str = "",
        run_view_type: int = ViewType.ACTIVE_ONLY,
        max_results: int = 1000,
        order_by: Sequence[str] | None = None,
        page_token: bytes | None = None,
    ) -> Page[Run]:
        """Runs, the newest first where `order_by` asks for nothing else."""
        stages, (filters, values) = STAGES[run_view_type], where(filter_string)
        allowed = (
            f"experiment_id in ({_marks(experiment_ids)})",
            f"lifecycle_stage in ({_marks(stages)})",
            *filters,
        )
        query = (
            f"select {RUN} from runs where {' and '.join(allowed)} "
            f"order by start_time is null, start_time {direction(order_by)}, run_uuid"
        )
        with self._snapshot() as select:
            page = _page(
                select,
                query,
                [*map(int, experiment_ids), *stages, *values],
                _at_most(max_results, MAX_RUNS),
                page_token,
            )
            return Page(_runs(select, page), page.token)

    def search_model_versions(
        self,
        filter_string: str,
        max_results: int = 10_000,
        order_by: Sequence[str] | None = None,
        page_token: bytes | None = None,
    ) -> Page[ModelVersion]:
        """Versions of one name, else of all, the last changed first; they come without aliases."""
        match, order = NAMED.fullmatch(filter_string), ORDERS.get(tuple(order_by or ()))
        if order is None or (match is None and filter_string):
            raise UnansweredError
        query = (
            f"select {VERSION} from model_versions where workspace = 'default' "
            f"{'and name = ? ' if match else ''}and "
            "current_stage != ? and name not in (select name from model_version_tags where "
            "workspace = 'default' and key = ? and value = 'true') "
            f"order by {order}"
        )
        names = [match[1]] if match else []
        with self._snapshot() as select:
            page = _page(
                select,
                query,
                [*names, GONE, IS_PROMPT],
                _at_most(max_results, MAX_VERSIONS),
                page_token,
            )
            tags = _version_tags(select, *names)
        versions = [_model_version(row, tags) for row in page]
        return Page(versions, page.token)

    def get_model_version(self, name: str, version: str) -> ModelVersion:
        """One version; it comes without its aliases."""
        with self._snapshot() as select:
            row = _version_row(select, VERSION, name, version)
            return _model_version(row, _version_tags(select, name))

    def get_model_version_download_uri(self, name: str, version: str) -> str:
        """Where the files of a version lie."""
        with self._snapshot() as select:
            row = _version_row(select, "storage_location, source", name, version)
        return str(row["storage_location"] or row["source"])

    def get_registered_model(self, name: str) -> RegisteredModel:
        """A registered name with its tags and aliases."""
        query = f"select {MODEL} from registered_models where workspace = 'default' and name = ?"
        with self._snapshot() as select:
            model = _only(_models(select, select(query, name)))
            if select(PROMPTS + " and name = ?", name):
                raise UnansweredError
        return model

    def search_registered_models(
        self,
        filter_string: str | None = None,
        max_results: int = 100,
        order_by: Sequence[str] | None = None,
        page_token: bytes | None = None,
    ) -> Page[RegisteredModel]:
        """Every registered name, sorted."""
        if filter_string or order_by:
            raise UnansweredError
        query = (
            f"select {MODEL} from registered_models where workspace = 'default' "
            f"and name not in ({PROMPTS}) order by name"
        )
        with self._snapshot() as select:
            page = _page(select, query, [], _at_most(max_results, MAX_MODELS), page_token)
            return Page(_models(select, page), page.token)

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[Select]:
        """Queries that all see the store as it is at the first."""
        with contextlib.closing(
            sqlite3.connect(self._uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("begin")

            def select(query: str, *values: Any) -> Rows:
                cursor = connection.execute(query, values)
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor]

            yield select


def _runs(select: Select, rows: Rows) -> list[Run]:
    """Runs with their data, from rows of `RUN`."""
    data: dict[str, RunData] = {row["run_id"]: RunData({}, {}, {}) for row in rows}
    for start in range(0, len(rows), MARKS):
        ids = [row["run_id"] for row in rows[start : start + MARKS]]
        where = f"where run_uuid in ({_marks(ids)})"
        for row in select(f"select run_uuid, key, value, is_nan from latest_metrics {where}", *ids):
            value = math.nan if row["is_nan"] else row["value"]
            data[row["run_uuid"]].metrics[row["key"]] = value
        for row in select(f"select run_uuid, key, value from params {where}", *ids):
            data[row["run_uuid"]].params[row["key"]] = row["value"]
        for row in select(f"select run_uuid, key, value from tags {where}", *ids):
            data[row["run_uuid"]].tags[row["key"]] = row["value"]
    return [Run(RunInfo(**row), data[row["run_id"]]) for row in rows]


def _version_row(select: Select, columns: str, name: str, version: str) -> dict[str, Any]:
    """The columns of one version that was not deleted."""
    return _only(
        select(
            f"select {columns} from model_versions where workspace = 'default' and name = ? "
            "and version = ? and current_stage != ?",
            name,
            int(version),
            GONE,
        )
    )


def _version_tags(select: Select, *names: str) -> Tags:
    """Tags of the versions of a name, else of all."""
    query = "select name, version, key, value from model_version_tags where workspace = 'default'"
    tags: Tags = {}
    for row in select(f"{query}{' and name = ?' * len(names)}", *names):
        tags.setdefault((row["name"], row["version"]), {})[row["key"]] = row["value"]
    return tags


def _model_version(row: dict[str, Any], tags: Tags) -> ModelVersion:
    """A version from a row of `VERSION`."""
    return ModelVersion(**row, tags=tags.get((row["name"], row["version"]), {}))


def _models(select: Select, rows: Rows) -> list[RegisteredModel]:
    """Registered names with tags and aliases, from rows of `MODEL`."""
    query = (
        "select key, value from registered_model_tags "
        "where workspace = 'default' and name = ? and key != ?"
    )
    return [
        RegisteredModel(
            **row,
            tags={tag["key"]: tag["value"] for tag in select(query, row["name"], IS_PROMPT)},
            aliases=_aliases(select, row["name"]),
        )
        for row in rows
    ]


def _aliases(select: Select, name: str) -> dict[str, int]:
    """Alias -> version of a registered name."""
    query = (
        "select alias, version from registered_model_aliases "
        "where workspace = 'default' and name = ?"
    )
    return {row["alias"]: row["version"] for row in select(query, name)}


def _page(
    select: Select, query: str, values: Sequence[Any], size: int, token: bytes | None
) -> Page[dict[str, Any]]:
    """The rows from where `token` says; the token is MLflow's, which may go on from here."""
    start = int(json.loads(base64.b64decode(token))["offset"]) if token else 0
    rows = select(f"{query} limit ? offset ?", *values, size + 1, start)
    more = len(rows) > size
    following = base64.b64encode(json.dumps({"offset": start + size}).encode()) if more else None
    return Page(rows[:size], following)


def _at_most(wanted: int, most: int) -> int:
    """How many answers are asked for; MLflow refuses what is out of bounds."""
    if not 1 <= wanted <= most:
        raise UnansweredError
    return wanted


def _only(entities: Sequence[Entity]) -> Entity:
    if len(entities) != 1:
        raise UnansweredError
    return entities[0]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
