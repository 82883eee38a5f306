"""What MLflow's searches of runs are asked with, as SQL."""
# ruff: noqa: S608 - every name in a query is ours, every value is bound

import re
from collections.abc import Sequence

TERM = re.compile(
    r"(tags|params|attributes)\.(?:`([^`]+)`|(\w+)) (=|<=) (?:'([^'\"`\\]*)'|(\d+))(?: and |$)"
)
BY_START = re.compile(r"(?:attributes\.)?start_time (ASC|DESC)")


class UnansweredError(Exception):
    """The tables' reader does not know the answer: MLflow has to be asked."""


def where(filter_string: str) -> tuple[list[str], list[str | int]]:
    """MLflow's filter of runs as SQL with its values."""
    conditions: list[str] = []
    values: list[str | int] = []
    position = 0
    while position < len(filter_string):
        match = TERM.match(filter_string, position)
        if match is None:
            raise UnansweredError
        kind, key, comparator = match[1], match[2] or match[3], match[4]
        value = int(match[6]) if match[5] is None else match[5]
        if (kind, comparator) in (("tags", "="), ("params", "=")) and isinstance(value, str):
            conditions.append(
                f"exists (select 1 from {kind} as t where t.run_uuid = runs.run_uuid "
                "and t.key = ? and t.value = ?)"
            )
            values += [key, value]
        elif (kind, key, comparator, type(value)) in (
            ("attributes", "status", "=", str),
            ("attributes", "start_time", "<=", int),
        ):
            conditions.append(f"{key} {comparator} ?")
            values.append(value)
        else:
            raise UnansweredError
        position = match.end()
    if filter_string.endswith(" and "):
        raise UnansweredError
    return conditions, values


def direction(order_by: Sequence[str] | None) -> str:
    """Of the start time, which is all that runs are sorted by here."""
    if not order_by:
        return "DESC"
    match = BY_START.fullmatch(order_by[0]) if len(order_by) == 1 else None
    if match is None:
        raise UnansweredError
    return match[1]
