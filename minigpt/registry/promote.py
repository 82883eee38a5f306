"""Move `champion`, where the gate allows it or a person overrules it."""

import getpass
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from minigpt.errors import GateRefusedError, RegistryError
from minigpt.registry.config import RegistryParams
from minigpt.registry.gate import Condition, judge, refusal
from minigpt.registry.mutex import only_changer
from minigpt.registry.versions import CHAMPION, Version, aliases_in, find_version
from minigpt.tracking.store import Store, clear_errors, open_store

PROMOTION = "minigpt.promotion"


@dataclass(frozen=True)
class Promotion:
    """What a promotion did."""

    version: Version
    before: str | None
    """The champion's number until then."""
    moved: bool
    """False: the version was champion already."""
    forced: bool
    """The gate had refused it."""
    conditions: tuple[Condition, ...]


def promote(
    root: Path, ref: str, params: RegistryParams, force: bool = False, reason: str | None = None
) -> Promotion:
    """Make the version that `ref` names champion of its name.

    It must meet the absolute conditions, and there must be no champion yet; `force` overrules both,
    and `reason` is kept with the version.

    Raises:
        GateRefusedError: it may not; the message says why. Nothing was changed.
        RegistryError: there is no such version, or another promotion was quicker.
    """
    version = find_version(root, ref, params.release.name)
    store = open_store(root)
    before = aliases_in(store, version.name).get(CHAMPION)
    evaluation, exports = (metrics_of(store, version, name) for name in ("evaluate", "export"))
    conditions = tuple(judge(evaluation, exports, params.gate))
    if before == version.version:
        return Promotion(version, before, moved=False, forced=False, conditions=conditions)
    reasons = (
        [] if before is None else [f"{version.name} has a champion; only --force moves it yet"]
    )
    allowed = all(condition.holds for condition in conditions) and not reasons
    if not allowed and not force:
        raise GateRefusedError(refusal(version.version, before, conditions, reasons))
    event = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "by": getpass.getuser(),
        "before": before,
        "forced": not allowed,
        "reason": reason,
        "conditions": [f"{condition.about}: {condition.found}" for condition in conditions],
    }
    with only_changer(store, version.name):
        found = aliases_in(store, version.name).get(CHAMPION)
        if found != before:
            raise RegistryError(
                f"{version.name}: version {found} was made champion meanwhile. Nothing was "
                "changed. See: minigpt registry list"
            )
        with clear_errors(store.uri):
            number, text = version.version, json.dumps(event, ensure_ascii=False)
            store.client.set_model_version_tag(version.name, number, PROMOTION, text)
            store.client.set_registered_model_alias(version.name, CHAMPION, number)
    return Promotion(
        find_version(root, version.version, version.name), before, True, not allowed, conditions
    )


def metrics_of(store: Store, version: Version, stage: str) -> dict[str, Any]:
    """A stage's metrics as they were when the version was registered.

    Raises:
        RegistryError: the version does not hold them.
    """
    with clear_errors(store.uri):
        path = store.client.download_artifacts(version.run_id, f"metrics/{stage}.json")
        return dict(json.loads(Path(path).read_text(encoding="utf-8")))
