"""What a version must reach before it may be champion, and how that is said."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minigpt.evaluation.bootstrap import Interval, decimals_for, difference
from minigpt.registry.config import GateConfig
from minigpt.registry.promotion import remedies
from minigpt.registry.promotion.condition import Condition
from minigpt.registry.promotion.leakage import SET, leaked
from minigpt.registry.registry import Registry
from minigpt.roles import FINETUNE, ROLES, final_model, main_first, main_role, of_role

if TYPE_CHECKING:
    from minigpt.registry.promotion.evaluation_set import EvaluationSet, Key, Passages
    from minigpt.registry.promotion.standard import Best
    from minigpt.registry.versions import Version


def decide(
    registry: Registry,
    challenger: "Version",
    champion: "Version | None",
    gate: GateConfig,
) -> tuple[Condition, ...]:
    """Every condition that `challenger` must meet to be champion in place of `champion`.

    Both are held against each other on the champion's evaluation set; a model is run only where the
    challenger's own is another.

    Raises:
        RegistryError: a file of one of them is gone or was changed.
    """
    from minigpt.registry.promotion.scores import ms_per_token, results_of

    evaluation, quantization, exports = (
        results_of(registry, challenger, stage) for stage in ("evaluate", "quantize", "export")
    )
    speed = None if gate.max_ms_per_token is None else ms_per_token(registry, challenger)
    return (
        *_on_one_set(registry, challenger, champion, gate, evaluation),
        *judge(evaluation, exports, gate),
        *rounding(quantization | exports, gate),
        *budgets(quantization, speed, gate),
    )


def judge(
    evaluation: Mapping[str, Any], exports: Mapping[str, Any], gate: GateConfig
) -> list[Condition]:
    """The absolute conditions, from results/evaluate.json and results/export.json of a version.

    The base model must lie below a baseline on each pretraining source, the fine-tuned model (if
    there is one) below the base on each fine-tuning source, and each exported model must give our
    logits. One that rounds (it states its `relative_difference`) is no copy: `rounding` judges it.
    """
    conditions = []
    roles = {source: about["role"] for source, about in evaluation["test"].items()}
    for role in ROLES.values():
        sources = of_role(roles, role)
        if not sources and (not role.optional or role.model in evaluation):
            text = "no source of this role has test works"
            conditions.append(Condition(role.name, text, False, remedies.NO_TEST_WORKS))
        for source in sources:
            figure = evaluation[role.model][source]["bits_per_byte"]
            if role.against:
                name, limits = f"the {role.against} model's", evaluation[role.against]
                remedy = remedies.FINE_TUNED
            else:
                name, limits = str(gate.must_beat), evaluation["baselines"][gate.must_beat]
                remedy = remedies.BASE
            limit = limits[source]["bits_per_byte"]
            conditions.append(_below(source, figure, name, limit, remedy))
    for name, figures in sorted(exports.items()):
        if "relative_difference" not in figures:
            worst, allowed = figures["greatest_logit_difference"], gate.max_logit_difference
            text = f"logits within {worst:.1g}; allowed {allowed:.1g}"
            about = f"export {name}"
            conditions.append(_condition(about, text, worst <= allowed, remedies.NO_COPY))
    return conditions


def rounding(packages: Mapping[str, Any], gate: GateConfig) -> list[Condition]:
    """What each rounded model loses on the source where it loses most; from its results.

    One that params.yaml does not name may lose the most that it allows any other.
    """
    conditions = []
    limits = gate.max_quantization_loss.model_dump()
    for name in dict.fromkeys([*limits, *sorted(packages)]):
        if loss := packages.get(name, {}).get("relative_difference"):
            allowed = limits.get(name, max(limits.values()))
            source = max(loss, key=lambda name: loss[name])
            text = f"{per_cent(loss[source])} on {source}; allowed {per_cent(allowed)}"
            remedy = remedies.ROUNDED.get(name, remedies.ROUNDED_EXPORT)
            conditions.append(_condition(f"{name} loss", text, loss[source] <= allowed, remedy))
    return conditions


def budgets(
    quantization: Mapping[str, Any], ms_per_token: float | None, gate: GateConfig
) -> list[Condition]:
    """Size and speed of the fine-tuned package, where params.yaml asks for them."""
    conditions = []
    if gate.max_megabytes is not None:
        megabytes = quantization["fp32"]["bytes"] / 1e6
        text = f"{megabytes:.2f} MB; allowed {gate.max_megabytes:g}"
        holds = megabytes <= gate.max_megabytes
        conditions.append(_condition("size", text, holds, remedies.TOO_LARGE))
    if gate.max_ms_per_token is not None and ms_per_token is not None:
        text = f"{ms_per_token:.2f} ms a token; allowed {gate.max_ms_per_token:g}"
        holds = ms_per_token <= gate.max_ms_per_token
        conditions.append(_condition("speed", text, holds, remedies.TOO_SLOW))
    return conditions


def enough(own: "EvaluationSet", gate: GateConfig) -> list[Condition]:
    """Whether a version can be told from a later one on the set that it brings along.

    Else it would be a champion that nothing can replace.
    """
    keys = Counter(source for source, _, _ in own.passages(FINETUNE.model))
    return [
        Condition(
            source,
            f"its own evaluation set has {keys[source]} passages; at least {gate.min_passages}",
            False,
            remedies.FEW_PASSAGES,
        )
        for source in main_first(own.roles)
        if keys[source] < gate.min_passages
    ]


def against(
    ours: "Passages",
    theirs: "Passages",
    roles: Mapping[str, str],
    gate: GateConfig,
    best: "Mapping[str, Best] | None" = None,
) -> list[Condition]:
    """The challenger's model against the champion's, over the same passages.

    One that is worse must lie within what is allowed of the best that champions reached, so that
    small losses in a row do not add up. The difference itself decides; its interval is shown.
    The sources that a version is for come first: of fine-tuning, or where there are none all. On
    the others it may have forgotten some.
    """
    conditions, main = [], main_role(roles.values())
    for source in main_first(roles):
        keys = [key for key in theirs if key[0] == source]
        if len(keys) < gate.min_passages:
            text = f"{len(keys)} passages to compare on; at least {gate.min_passages}"
            conditions.append(Condition(source, text, False, remedies.FEW_PASSAGES))
            continue
        before, worse = _beside_each_other(ours, theirs, keys)
        allowed = _allowed(source, roles, gate)
        remedy = remedies.WORSE if roles[source] == main.name else remedies.FORGOTTEN
        text, gap = compared(before, worse), worse.point
        earlier = (best or {}).get(source)
        if earlier and earlier.bits_per_byte < before:
            gap = before + worse.point - earlier.bits_per_byte
        if not worse.point <= 0:
            text += beside(earlier, gap) if earlier and gap > worse.point else ""
            text += f"; allowed: {allowed:.2f}"
        holds = worse.point <= 0 or gap <= allowed
        conditions.append(_condition(source, text, holds, remedy))
    return conditions


def clearly_worse(
    ours: "Passages", theirs: "Passages", roles: Mapping[str, str], gate: GateConfig, number: str
) -> list[Condition]:
    """The sources on which chance cannot explain that the challenger is worse than is allowed.

    On the evaluation set of the version `number`, the first champion of those that led to this one.
    """
    conditions = []
    for source in main_first(roles):
        keys = [key for key in theirs if key[0] == source]
        before, worse = _beside_each_other(ours, theirs, keys)
        if worse.clear and worse.point > _allowed(source, roles, gate):
            text = f"on the evaluation set of version {number}: {compared(before, worse)}"
            conditions.append(Condition(source, text, False, remedies.WORSE))
    return conditions


def _beside_each_other(
    ours: "Passages", theirs: "Passages", keys: "Sequence[Key]"
) -> tuple[float, Interval]:
    """The champion's bits per byte of some passages, and how much worse the challenger's are."""
    sizes = [theirs[key][0] for key in keys]
    mine, other = ([passages[key][1] for key in keys] for passages in (ours, theirs))
    return sum(other) / sum(sizes), difference(mine, other, sizes)


def _allowed(source: str, roles: Mapping[str, str], gate: GateConfig) -> float:
    """Bits per byte by which a version may be worse on a source."""
    is_main = roles[source] == main_role(roles.values()).name
    return gate.max_worse if is_main else gate.max_forgetting


def beside(best: "Best", gap: float) -> str:
    """The figure of the best champion before, and by how much that is missed."""
    decimals = decimals_for(gap, best.bits_per_byte)
    return (
        f"; the best champion, version {best.version}, had {best.bits_per_byte:.{decimals}f}: "
        f"worse by {gap:.{decimals}f}"
    )


def compared(before: float, worse: Interval) -> str:
    """Both figures, and the difference with its interval."""
    figure = before + worse.point
    decimals = decimals_for(figure, before)
    text = f"{figure:.{decimals}f} against {before:.{decimals}f} bits per byte: "
    if worse.point == 0 or not math.isfinite(worse.point):
        return text + ("the same" if worse.point == 0 else "not a number")
    gap = abs(worse.point)
    ends = sorted(abs(end) for end in (worse.low, worse.high))
    if not worse.clear:
        return f"{text}no clear difference ({worse.about})"
    decimals = decimals_for(gap, *ends)
    verdict = "worse" if worse.point > 0 else "better"
    interval = f"95 %: {ends[0]:.{decimals}f} to {ends[1]:.{decimals}f}"
    return f"{text}{verdict} by {gap:.{decimals}f} ({interval})"


def per_cent(share: float) -> str:
    """A share for people: 0.4 %."""
    return f"{round(100 * share, 1) + 0.0:.1f} %"  # never -0.0


def main_figure(evaluation: Mapping[str, Any]) -> float | None:
    """Bits per byte of a version's model on the first source that it is for."""
    model = final_model(evaluation)
    main = next(role for role in ROLES.values() if role.model == model)
    sources = of_role({s: about["role"] for s, about in evaluation["test"].items()}, main)
    return float(evaluation[model][sources[0]]["bits_per_byte"]) if sources else None


def refusal(
    version: "Version", champion: "Version | None", conditions: Sequence[Condition], name: str
) -> str:
    """What a person is told: which condition, both figures and by how much; failed ones first.

    `name` is the project's model: of another one, commands need the name.
    """
    from minigpt.registry.refs import shortest_ref

    number, ref = version.version, shortest_ref(version.name, version.version, name)
    aim = (
        f"does not replace champion (version {champion.version})"
        if champion
        else "is not good enough to be the first champion"
    )
    lines = [f"refused: version {number} {aim}"]
    for holds in (False, True):
        for condition in (c for c in conditions if c.holds == holds):
            lines.append(f"  {condition.about:<18} {condition.found}")
            if condition.remedy:
                lines.append(f"  {'':<18} {condition.remedy}")
    why = ""
    if champion:
        theirs = shortest_ref(champion.name, champion.version, name)
        why = f"To see why: minigpt compare {theirs} {ref}. "
    lines.append(
        f"Nothing was changed. {why}To overrule: minigpt registry promote {ref} --force "
        '--reason "…" (it is logged).'
    )
    return "\n".join(lines)


def _on_one_set(
    registry: Registry,
    challenger: "Version",
    champion: "Version | None",
    gate: GateConfig,
    evaluation: Mapping[str, Any],
) -> list[Condition]:
    """The challenger and the champion on one evaluation set that the challenger did not learn."""
    from minigpt.registry.lineage.index import index_of, word_runs_of
    from minigpt.registry.promotion.evaluation_set import read_evaluation_set
    from minigpt.registry.promotion.scores import both_on
    from minigpt.registry.promotion.standard import first_set, standard

    own = read_evaluation_set(registry, challenger)
    own.refuse_other_figures(evaluation)
    reference = read_evaluation_set(registry, champion) if champion else own
    index = index_of(registry, challenger)
    if index is None:
        text = f"the document index of version {challenger.version} is gone: nobody can tell "
        text += "whether it was trained on these documents"
        return [Condition(SET, text, False, remedies.NO_INDEX)]
    word_runs = word_runs_of(registry, challenger)
    unlearned = leaked(reference.documents, index, word_runs)
    few = enough(own, gate)
    if champion is None or not unlearned.holds:
        return [unlearned, *few]
    ours, theirs = both_on(registry, (own, reference), reference)
    earlier = standard(registry, champion, reference)
    lost = ", ".join(earlier.unknown)
    text = f"version {lost} was champion too; its figures are gone, so they set no bound"
    gone = [Condition(SET, text, True)] if lost else []
    first, on_first = first_set(registry, champion), list[Condition]()
    # The set may change with each champion, and be chosen so that a difference is not seen on it.
    if first and not first.same_text(reference):
        number, count = first.version.version, len(first.documents)
        first = first.only(d for d in first.documents if leaked([d], index, word_runs).holds)
        if first.documents:
            both = both_on(registry, (own, reference), first)
            on_first = clearly_worse(*both, first.roles, gate, number)
        if missed := count - len(first.documents):
            text = f"it was trained on {missed} of the {count} documents of version {number}'s set"
            on_first.append(Condition(SET, f"{text}, which are left out", True))
    judged = against(ours, theirs, reference.roles, gate, earlier.best)
    return [*judged, *on_first, unlearned, *few, *gone]


def _condition(about: str, found: str, holds: bool, remedy: str) -> Condition:
    """One that holds needs no remedy."""
    return Condition(about, found, holds, "" if holds else remedy)


def _below(source: str, figure: float, name: str, limit: float, remedy: str) -> Condition:
    gap = figure - limit
    verdict = f"better by {-gap:.2g}" if gap < 0 else f"worse by {gap:.2g}" if gap else "no better"
    text = f"{figure:.2f} against {name} {limit:.2f} bits per byte: {verdict}"
    return _condition(source, text, gap < 0, remedy)
