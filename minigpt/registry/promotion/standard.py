"""The best that champions of a name reached on a text, so that small losses do not add up."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from minigpt.errors import RegistryError
from minigpt.registry.lineage.index import index_of, word_runs_of
from minigpt.registry.promotion.audit_event import Event
from minigpt.registry.promotion.audit_log import read_all
from minigpt.registry.promotion.evaluation_set import (
    EvaluationSet,
    bits_per_byte,
    read_evaluation_set,
)
from minigpt.registry.promotion.history import MOVES
from minigpt.registry.promotion.leakage import leaked
from minigpt.registry.promotion.scores import passages_on
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version, version_of


@dataclass(frozen=True)
class Best:
    """The least that a champion needed for one source."""

    version: str
    bits_per_byte: float


@dataclass(frozen=True)
class Standard:
    """What a version is held against, beside the champion of the day."""

    best: Mapping[str, Best]
    """By source; of champions before the present one."""
    unknown: tuple[str, ...] = ()
    """Versions that were champion and whose figures nobody can tell: their files are gone."""


def standard(registry: Registry, champion: Version, reference: EvaluationSet) -> Standard:
    """The best of the champions before `champion`, by the log, on each source of `reference`.

    Where a champion was judged on the same text its stored figures count, else it is run on it. One
    that learned from that text sets no standard.

    Raises:
        RegistryError: the store cannot be read.
    """
    best: dict[str, Best] = {}
    unknown = []
    for number, manifest in standing(read_all(registry, champion.name)[0]):
        if (number, manifest) == (champion.version, champion.digest):
            continue
        version = version_of(registry, champion.name, number)
        try:
            if version is None or version.digest != manifest:
                raise RegistryError(f"{champion.name} {number} is no longer registered")
            figures = _figures(registry, version, reference)
        except RegistryError:
            unknown.append(number)
            continue
        for source, figure in figures.items():
            if source not in best or figure < best[source].bits_per_byte:
                best[source] = Best(number, figure)
    return Standard(best, tuple(unknown))


def first_set(registry: Registry, champion: Version) -> EvaluationSet | None:
    """The evaluation set of the first champion of this line that is still here; not `champion`'s.

    A line begins where a person last overruled the gate: what counted before was given up then.

    Raises:
        RegistryError: the store cannot be read.
    """
    events = read_all(registry, champion.name)[0]
    lasting = standing(events)  # what was forced and taken back begins no line
    begin = max(
        (
            i
            for i, e in enumerate(events)
            if e.forced and e.kind in MOVES and (e.version or "", e.manifest) in lasting
        ),
        default=0,
    )
    for number, manifest in standing(events[begin:]):
        version = version_of(registry, champion.name, number)
        if manifest == champion.digest or version is None or version.digest != manifest:
            continue
        with contextlib.suppress(RegistryError):  # damaged; `standard` tells which set no bound
            return read_evaluation_set(registry, version)
    return None


def standing(events: Iterable[Event]) -> list[tuple[str, str]]:
    """(number, manifest) of every champion, oldest first, but those that a person took back.

    Taken back are those after the one that a rollback restored, and those that were taken down:
    what they reached need not be reached again.
    """
    entries: list[tuple[str, str]] = []
    taken_down = set()
    for event in events:
        entry = (event.version or "", event.manifest)
        if event.kind == "taken down":
            taken_down.add(entry)
        elif event.kind == "rolled back" and entry in entries:
            del entries[entries.index(entry) + 1 :]
        elif event.kind in MOVES and event.version and entry not in entries:
            entries.append(entry)
    return [entry for entry in entries if entry not in taken_down]


def _figures(registry: Registry, version: Version, reference: EvaluationSet) -> dict[str, float]:
    """Bits per byte of a version on each source of `reference` that it did not learn from."""
    own, index = read_evaluation_set(registry, version), index_of(registry, version)
    if index is None:
        raise RegistryError(f"{version.name} {version.version}: its document index is gone")
    word_runs, figures = word_runs_of(registry, version), {}
    for source in reference.roles:
        text = reference.of(source)
        if not leaked(text.documents, index, word_runs).holds:
            continue
        figures[source] = bits_per_byte(passages_on(registry, own.of(source), text), source)
    return figures
