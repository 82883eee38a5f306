"""Two versions side by side: every figure with the interval of its difference, the same prompts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from minigpt.evaluation.bootstrap import Interval, difference
from minigpt.evaluation.config import SamplesConfig
from minigpt.registry.contents import model_of
from minigpt.registry.lineage.index import index_of
from minigpt.registry.promotion.evaluation_set import (
    EvaluationSet,
    Passages,
    params_of,
    read_evaluation_set,
)
from minigpt.registry.promotion.scores import both_on, results_of, run_on
from minigpt.registry.registry import Registry
from minigpt.registry.versions import Version
from minigpt.release.config import QuantizeConfig
from minigpt.release.document_index import learned
from minigpt.roles import FINETUNE, main_first

MEASURED = ("finetuned", "base", "int8", "int4")
ROUNDED = ("int8", "int4")


@dataclass(frozen=True)
class Line:
    """One package of both versions on one source."""

    source: str
    package: str
    first: float
    """Bits per byte."""
    second: float
    difference: Interval
    """The second less the first: above zero, the second is worse."""


@dataclass(frozen=True)
class Pair:
    """What both wrote after one prompt, with one seed."""

    prompt: str
    seed: int
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """Two versions on the evaluation set of the first."""

    first: Version
    second: Version
    documents: int
    """In that evaluation set."""
    leaked: Sequence[str] | None
    """Documents of it that the second was trained on: its figures are too good. None: the second's
    document index is gone, so nobody can tell."""
    lines: Sequence[Line]
    sizes: Mapping[str, tuple[float | None, float | None]]
    """Megabytes of each package's weights."""
    samples: Sequence[Pair]


def compare(
    registry: Registry, first: Version, second: Version, prompts: Sequence[str] = ()
) -> Comparison:
    """Hold two versions against each other; both are run on `prompts`, if there are any.

    Stored figures and samples are used where both have them for the same text; else models are run.

    Raises:
        RegistryError: files of one are gone, or were changed.
    """
    sets = read_evaluation_set(registry, first), read_evaluation_set(registry, second)
    reference = sets[0]
    lines = []
    tuned = any(own.model == FINETUNE.model for own in sets)
    for package in MEASURED if tuned else MEASURED[1:]:  # else the base is the model of both
        before: Passages | None
        after: Passages | None
        if package in ROUNDED:
            before, after = (_rounded(registry, own, reference, package) for own in sets)
        else:
            before, after = both_on(registry, sets, reference, package)
        lines += _lines(package, reference.roles, before, after)
    sizes = [results_of(registry, version, "quantize") for version in (first, second)]
    return Comparison(
        first,
        second,
        len(reference.documents),
        _leaked(registry, reference, second),
        lines,
        {
            name: (_megabytes(sizes[0], name), _megabytes(sizes[1], name))
            for name in dict.fromkeys((*sizes[0], *sizes[1]))
        },
        _samples(registry, sets, prompts),
    )


def _rounded(
    registry: Registry, own: EvaluationSet, reference: EvaluationSet, package: str
) -> Passages | None:
    """What a rounded package needs on the text that quantize measures; None: it has none."""
    if package not in results_of(registry, own.version, "quantize"):
        return None
    from minigpt.release.text import shortened

    section = params_of(registry, reference.version).get("quantize") or {}
    max_bytes = int(section.get("max_bytes", QuantizeConfig().max_bytes))
    documents = [
        document
        for source in reference.roles
        for document in shortened([d for d in reference.documents if d.source == source], max_bytes)
    ]
    return run_on(registry, own.version, package, documents, reference.config)


def _lines(
    package: str, roles: Mapping[str, str], first: Passages | None, second: Passages | None
) -> list[Line]:
    if first is None or second is None:
        return []
    lines = []
    for source in main_first(roles):
        keys = [key for key in first if key[0] == source]
        sizes = [first[key][0] for key in keys]
        before, after = ([passages[key][1] for key in keys] for passages in (first, second))
        if sizes:
            total = sum(sizes)
            lines.append(
                Line(
                    source,
                    package,
                    sum(before) / total,
                    sum(after) / total,
                    difference(after, before, sizes),
                )
            )
    return lines


def _leaked(registry: Registry, reference: EvaluationSet, version: Version) -> list[str] | None:
    if (index := index_of(registry, version)) is None:
        return None
    trained = learned(index)
    return [d.doc_id for d in reference.documents if d.sha256 in trained]


def _megabytes(results: Mapping[str, Any], name: str) -> float | None:
    return results[name]["bytes"] / 1e6 if name in results else None


def _samples(
    registry: Registry,
    sets: tuple[EvaluationSet, EvaluationSet],
    prompts: Sequence[str],
) -> list[Pair]:
    """The models on the same prompts with the same seeds."""
    settings = [_sampling(registry, own.version) for own in sets]
    stored = [
        {(s["prompt"], s["seed"]): s["text"] for s in own.samples if s["model"] == own.model}
        for own in sets
    ]
    shared = [key for key in stored[0] if key in stored[1]]
    if shared and settings[0][0].sampling == settings[1][0].sampling and not prompts:
        return [Pair(*key, stored[0][key], stored[1][key]) for key in shared]
    config, seed = settings[0]
    config = config.replace(prompts=tuple(prompts) or config.prompts)
    texts = [_written(registry, own.version, config, seed) for own in sets]
    return [
        Pair(prompt, seed + i, texts[0][i], texts[1][i]) for i, prompt in enumerate(config.prompts)
    ]


def _sampling(registry: Registry, version: Version) -> tuple[SamplesConfig, int]:
    """How a version's samples were written, and the first of their seeds."""
    values = params_of(registry, version)
    section = (values.get("evaluate") or {}).get("samples") or {}
    known = {key: section[key] for key in SamplesConfig.model_fields if key in section}
    try:
        config = SamplesConfig.model_validate(known)
    except ValidationError:  # settings of another MiniGPT: both are run, with ours
        config = SamplesConfig()
    return config, int(values.get("seed", 0))


def _written(registry: Registry, version: Version, config: SamplesConfig, seed: int) -> list[str]:
    from minigpt.evaluation.samples import write_samples
    from minigpt.machine import Machine
    from minigpt.package import load_package

    machine = Machine.load()
    machine.prepare_torch()
    package = load_package(model_of(registry, version), device=machine.torch_device)
    return [str(sample["text"]) for sample in write_samples("finetuned", package, config, seed)]
