"""What a version must reach before it may be champion. Pure functions over its metrics files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from minigpt.registry.config import GateConfig


@dataclass(frozen=True)
class Condition:
    """One condition, with the figures it was decided by."""

    about: str
    """What it is about: a source or a format."""
    found: str
    holds: bool


def judge(
    evaluation: Mapping[str, Any], exports: Mapping[str, Any], gate: GateConfig
) -> list[Condition]:
    """The absolute conditions, from metrics/evaluate.json and metrics/export.json of a version.

    The base model must lie below a baseline on each pretraining source, the fine-tuned model below
    the base on each fine-tuning source, and each exported model must give our logits. One that
    rounds (it states its `relative_difference`) is no copy, so it is left out.
    """
    conditions = []
    roles = {source: about["role"] for source, about in evaluation["test"].items()}
    for role in ("pretrain", "finetune"):
        sources = sorted(source for source, found in roles.items() if found == role)
        if not sources:
            conditions.append(Condition(role, "no source of this role has test works", False))
        for source in sources:
            base = evaluation["base"][source]["bits_per_byte"]
            if role == "pretrain":
                baseline = evaluation["baselines"][gate.must_beat][source]["bits_per_byte"]
                conditions.append(_below(source, base, gate.must_beat, baseline))
            else:
                tuned = evaluation["finetuned"][source]["bits_per_byte"]
                conditions.append(_below(source, tuned, "the base model's", base))
    for name, found in sorted(exports.items()):
        if "relative_difference" not in found:
            worst, allowed = found["greatest_logit_difference"], gate.max_logit_difference
            text = f"logits within {worst:.1g}; allowed {allowed:.1g}"
            conditions.append(Condition(f"export {name}", text, worst <= allowed))
    return conditions


def main_figure(evaluation: Mapping[str, Any]) -> float | None:
    """Bits per byte of the fine-tuned model on the first fine-tuning source."""
    sources = sorted(s for s, about in evaluation["test"].items() if about["role"] == "finetune")
    return float(evaluation["finetuned"][sources[0]]["bits_per_byte"]) if sources else None


def refusal(
    version: str, champion: str | None, conditions: Iterable[Condition], reasons: Iterable[str]
) -> str:
    """What a person is told: which condition, both figures, and by how much."""
    aim = f"does not replace champion (version {champion})" if champion else "is not good enough"
    lines = [f"refused: version {version} {aim}"]
    lines += [f"  {condition.about:<18} {condition.found}" for condition in conditions]
    lines += [f"  {reason}" for reason in reasons]
    lines.append(
        f"Nothing was changed. To overrule: minigpt registry promote {version} --force "
        '--reason "…" (it is kept with the version).'
    )
    return "\n".join(lines)


def _below(source: str, found: float, name: str, limit: float) -> Condition:
    gap = found - limit
    verdict = f"better by {-gap:.2g}" if gap < 0 else f"worse by {gap:.2g}" if gap else "no better"
    text = f"{found:.2f} against {name} {limit:.2f} bits per byte: {verdict}"
    return Condition(source, text, gap < 0)
