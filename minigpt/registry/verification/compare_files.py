"""Every file of a rebuild against the list that the version was registered with."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minigpt.digest import file_digest, files_of
from minigpt.dvc_lock import LOCK, outputs_of, stages_of
from minigpt.graph import StageSpec, read_graph
from minigpt.registry.artifacts import VersionFiles
from minigpt.registry.verification.difference import describe
from minigpt.registry.verification.reference_files import ReferenceFiles
from minigpt.registry.verification.verdict import Outcome, Verdict

TOLERANCE = 0.02
"""Bits per byte between two kinds of machine: sums in another order move a training less than
another seed does, and gaps below this are not resolved by one seed (docs/reproducibility.md)."""
FIGURE = "bits_per_byte"
MADE_ON = "machine"  # in the results of a training: the platform fingerprint
MEASURED = ("results/", "metrics/")  # where figures are; an older version has metrics alone


def compare(
    files: VersionFiles, tree: Path, originals: ReferenceFiles, same_machine: bool
) -> list[Verdict]:
    """A verdict for each file of each output.

    On another kind of machine what follows from a training is judged by its figures alone.
    """
    loose = set() if same_machine else after_training(files, read_graph(tree))
    verdicts = [
        _file(files, tree, originals, name, files.out_of(name) in loose) for name in files.listed
    ]
    return verdicts + list(_unlisted(files, tree, originals, loose))


def _file(
    files: VersionFiles, tree: Path, originals: ReferenceFiles, name: str, loose: bool
) -> Verdict:
    path, out = tree / name, files.out_of(name)
    if not path.is_file():
        return Verdict(name, out, Outcome.MISSING, "the rebuild did not make it")
    if file_digest(path) == files.listed[name].sha256:
        return Verdict(name, out, Outcome.IDENTICAL)
    original = originals.find(name)
    if not loose:
        return Verdict(name, out, Outcome.DIFFERENT, describe(path, name, original))
    if not name.startswith(MEASURED) or original is None:
        return Verdict(name, out, Outcome.OTHER_MACHINE)
    return judge_figures(name, out, original, path)


def judge_figures(name: str, out: str, original: Path, now: Path) -> Verdict:
    """Whether the figures of results or metrics are near enough for another kind of machine."""
    before, after = (
        figures(json.loads(original.read_bytes())),
        figures(json.loads(now.read_bytes())),
    )
    if lost := sorted(before.keys() ^ after.keys()):
        return Verdict(name, out, Outcome.DIFFERENT, f"{lost[0]} is in one of the two only")
    if not before:
        return Verdict(name, out, Outcome.OTHER_MACHINE)
    worst = max(before, key=lambda key: abs(after[key] - before[key]))
    change = abs(after[worst] - before[worst])
    if change <= TOLERANCE:
        detail = f"bits per byte within {change:.4f} (tolerated: {TOLERANCE})"
        return Verdict(name, out, Outcome.TOLERATED, detail)
    detail = f"{worst}: {before[worst]:.4f} became {after[worst]:.4f} (tolerated: {TOLERANCE})"
    return Verdict(name, out, Outcome.DIFFERENT, detail)


def figures(values: Any, prefix: str = "", inside: bool = False) -> dict[str, float]:
    """The bits per byte in such a file, by their dotted names."""
    if isinstance(values, Mapping):
        return {
            key: number
            for name, value in values.items()
            for key, number in figures(value, f"{prefix}.{name}", inside or name == FIGURE).items()
        }
    number = isinstance(values, int | float) and not isinstance(values, bool)
    return {prefix.lstrip("."): float(values)} if inside and number else {}


def _unlisted(
    files: VersionFiles, tree: Path, originals: ReferenceFiles, loose: set[str]
) -> Iterator[Verdict]:
    """Outputs that the version's dvc.lock has and its list has not, and files it has not."""
    rebuilt = outputs_of(stages_of((tree / LOCK).read_bytes())) if (tree / LOCK).is_file() else {}
    for out, md5 in outputs_of(files.lock).items():
        inside = [name for name in files.listed if name == out or name.startswith(f"{out}/")]
        for path in files_of(tree / out) if inside and (tree / out).is_dir() else []:
            if (name := path.relative_to(tree).as_posix()) not in files.listed:
                yield Verdict(name, out, Outcome.UNEXPECTED, "the version has no such file")
        if inside:
            continue
        if out not in rebuilt or not (tree / out).exists():
            yield Verdict(out, out, Outcome.MISSING, "the rebuild did not make it")
        elif rebuilt[out] == md5:
            yield Verdict(out, out, Outcome.IDENTICAL)
        elif out in loose:
            yield Verdict(out, out, Outcome.OTHER_MACHINE)
        else:
            detail = "" if (tree / out).is_dir() else describe(tree / out, out, originals.find(out))
            yield Verdict(out, out, Outcome.DIFFERENT, detail)


def after_training(files: VersionFiles, graph: Mapping[str, StageSpec]) -> set[str]:
    """The outputs of the stages that say on which machine they trained, and all that follows."""
    reached = {
        out
        for stage in graph.values()
        if any(trained_on(files, out) for out in stage.outs)
        for out in stage.outs
    }
    while True:
        more = {
            out
            for stage in graph.values()
            if any(dep in reached for dep in stage.deps)
            for out in stage.outs
        }
        if more <= reached:
            return reached
        reached |= more


def trained_on(files: VersionFiles, out: str) -> dict[str, Any]:
    """The platform fingerprint in a file of results; empty where there is none."""
    path = files.path(out) if out.startswith(MEASURED) else None
    try:
        return dict(json.loads(path.read_bytes()).get(MADE_ON) or {}) if path else {}
    except (ValueError, AttributeError, TypeError):
        return {}
