import re
from types import SimpleNamespace

import numpy as np
import pytest

from minigpt.data.word_runs import sketch
from minigpt.params import Params
from minigpt.params_errors import known_keys
from minigpt.registry.config import GateConfig
from minigpt.registry.promotion import remedies
from minigpt.registry.promotion.gate import (
    against,
    budgets,
    judge,
    main_figure,
    refusal,
    rounding,
)
from minigpt.registry.promotion.leakage import leaked

EXPORTS = {
    "hf": {"greatest_logit_difference": 1e-6},
    "onnx_int8": {"greatest_logit_difference": 0.4, "relative_difference": {"plays": 0.004}},
    "onnx_int4": {"greatest_logit_difference": 2.0, "relative_difference": {"plays": 0.01}},
}


def bits(**figures):
    return {source: {"bits_per_byte": value} for source, value in figures.items()}


def evaluation(base=2.0, before=2.6, tuned=1.8):
    return {
        "test": {"plays": {"role": "pretrain"}, "speeches": {"role": "finetune"}},
        "base": bits(plays=base, speeches=before),
        "finetuned": bits(plays=2.2, speeches=tuned),
        "baselines": {"ngram": bits(plays=2.47), "unigram": bits(plays=4.8)},
    }


def failures(evaluation, exports=EXPORTS, **gate):
    return [c.about for c in judge(evaluation, exports, GateConfig(**gate)) if not c.holds]


def test_a_good_version_meets_every_condition():
    assert failures(evaluation()) == []


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        ({"base": 2.5}, ["plays"]),
        ({"base": 2.47}, ["plays"]),
        ({"tuned": 2.7}, ["speeches"]),
        ({"tuned": 2.6}, ["speeches"]),
        ({"base": float("nan")}, ["plays"]),
    ],
)
def test_each_figure_that_is_not_better_fails_its_condition(figures, failed):
    assert failures(evaluation(**figures)) == failed


def test_the_baseline_is_the_one_that_params_name():
    assert failures(evaluation(base=3.0), must_beat="unigram") == []


def test_an_export_that_is_no_copy_fails():
    exports = {"onnx": {"greatest_logit_difference": 0.01}}
    assert failures(evaluation(), exports) == ["export onnx"]
    assert failures(evaluation(), exports, max_logit_difference=0.1) == []


def test_a_role_without_test_works_cannot_pass():
    figures = evaluation()
    del figures["test"]["speeches"]
    assert failures(figures) == ["finetune"]
    assert main_figure(figures) is None


def test_without_fine_tuning_its_condition_falls_away_and_the_base_is_what_counts():
    figures = {k: v for k, v in evaluation().items() if k != "finetuned"}
    figures["test"] = {"plays": {"role": "pretrain"}}
    assert [c.about for c in judge(figures, EXPORTS, GateConfig())] == ["plays", "export hf"]
    assert failures(figures) == []
    assert main_figure(figures) == 2.0
    figures["test"] = {}
    assert failures(figures) == ["pretrain"]


def one(source, *figures, n_bytes=400):
    """Passages of one source, each with a figure of its own."""
    return {(source, f"{source}/test", i): (n_bytes, n_bytes * f) for i, f in enumerate(figures)}


def over(speeches, plays=2.2, passages=40):
    """Passages around these figures, some harder and some easier."""
    swing = np.random.default_rng(1).normal(0, 0.2, passages)
    swing -= swing.mean()
    return one("speeches", *(speeches + swing)) | one("plays", *(plays + swing))


ROLES = {"plays": "pretrain", "speeches": "finetune"}
FEW = GateConfig(min_passages=20)


def test_the_fine_tuned_model_may_not_be_worse_and_both_figures_are_said():
    speeches, plays = against(over(1.86), over(1.78), ROLES, FEW)
    assert (speeches.about, speeches.holds) == ("speeches", False)
    assert speeches.found == (
        "1.86 against 1.78 bits per byte: worse by 0.08 (95 %: 0.08 to 0.08); allowed: 0.00"
    )
    assert (plays.about, plays.holds) == ("plays", True)
    assert plays.found == "2.20 against 2.20 bits per byte: the same"
    assert all(c.holds for c in against(over(1.70), over(1.78), ROLES, FEW))
    assert all(c.holds for c in against(over(1.86), over(1.78), ROLES, FEW.replace(max_worse=0.1)))


def test_what_was_forgotten_has_a_bound_of_its_own():
    ours, theirs = over(1.70, plays=2.26), over(1.78, plays=2.20)
    assert [c.about for c in against(ours, theirs, ROLES, FEW) if not c.holds] == ["plays"]
    assert all(c.holds for c in against(over(1.7, plays=2.24), theirs, ROLES, FEW))


def test_without_fine_tuning_nothing_may_be_forgotten():
    ours, theirs = one("plays", *[2.24] * 40), one("plays", *[2.2] * 40)
    (plays,) = against(ours, theirs, {"plays": "pretrain"}, FEW)
    assert not plays.holds
    assert plays.found.endswith("; allowed: 0.00")
    assert against(ours, theirs, {"plays": "pretrain"}, FEW.replace(max_worse=0.05))[0].holds


def test_a_small_loss_is_a_loss_though_the_interval_holds_zero():
    random = np.random.default_rng(0)
    before = random.normal(1.8, 0.2, 40)
    noise = random.normal(0, 0.1, 40)
    after = before + noise - noise.mean() + 0.004
    condition, _ = against(
        one("speeches", *after) | one("plays", *before),
        one("speeches", *before) | one("plays", *before), ROLES, FEW,
    )  # fmt: skip
    assert "no clear difference (95 %: -0.0" in condition.found
    assert not condition.holds


def test_too_few_passages_are_refused_with_both_numbers():
    for condition in against(over(1.0), over(1.78), ROLES, GateConfig()):
        assert not condition.holds
        assert condition.found == "40 passages to compare on; at least 200"


def test_a_figure_that_is_no_number_is_refused():
    ours = over(1.7) | one("speeches", float("nan"))
    assert not against(ours, over(1.78), ROLES, FEW)[0].holds


def test_rounding_may_cost_so_much_and_no_more():
    packages = {
        "fp32": {"bytes": 9000},
        "int8": {"relative_difference": {"plays": 0.001, "speeches": 0.006}},
        "int4": {"relative_difference": {"plays": 0.01, "speeches": -0.01}},
        "onnx": {"greatest_logit_difference": 0.1},
    }
    int8, int4 = rounding(packages, GateConfig())
    assert (int8.found, int8.holds) == ("0.6 % on speeches; allowed 0.3 %", False)
    assert int4.holds
    wider = GateConfig(max_quantization_loss={"int8": 0.01})
    assert all(c.holds for c in rounding(packages, wider))


def test_a_rounded_model_that_params_do_not_name_may_cost_as_much_as_the_dearest_they_name():
    packages = {"npz_int8": {"relative_difference": {"plays": 0.021}}}
    (condition,) = rounding(packages, GateConfig())
    assert (condition.about, condition.holds) == ("npz_int8 loss", False)
    assert condition.found == "2.1 % on plays; allowed 2.0 %"


def test_size_and_speed_are_asked_only_where_there_is_a_budget():
    sizes = {"fp32": {"bytes": 9_450_520}}
    assert budgets(sizes, 3.0, GateConfig()) == []
    size, speed = budgets(sizes, 3.0, GateConfig(max_megabytes=9, max_ms_per_token=3))
    assert (size.found, size.holds) == ("9.45 MB; allowed 9", False)
    assert (speed.found, speed.holds) == ("3.00 ms a token; allowed 3", True)


def every_condition(gate, **worse):
    """Each kind of condition but those of the evaluation set, all at once."""
    figures = evaluation(**worse)
    sizes = {"fp32": {"bytes": 9_450_520}}
    rounded = {name: {"relative_difference": {"plays": 0.01}} for name in NOTHING}
    champion = over(1.78)
    return (
        *judge(figures, EXPORTS, gate),
        *rounding(rounded, gate),
        *budgets(sizes, 3.0, gate),
        *against(
            over(worse.get("tuned", 1.7), plays=worse.get("base", 2.2)), champion, ROLES, gate
        ),
    )


NOTHING = {"int8": 0, "int4": 0, "onnx_int8": 0, "onnx_int4": 0}


def test_each_condition_that_fails_names_its_cause_and_what_to_change():
    strict = GateConfig(
        min_passages=20, max_logit_difference=1e-9, max_quantization_loss=NOTHING,
        max_megabytes=1, max_ms_per_token=1,
    )  # fmt: skip
    failing = every_condition(strict, base=2.6, tuned=2.7)
    assert [(c.about, c.remedy) for c in failing if not c.holds] == [
        ("plays", remedies.BASE),
        ("speeches", remedies.FINE_TUNED),
        ("export hf", remedies.NO_COPY),
        ("int8 loss", remedies.ROUNDED["int8"]),
        ("int4 loss", remedies.ROUNDED["int4"]),
        ("onnx_int8 loss", remedies.ROUNDED_EXPORT),
        ("onnx_int4 loss", remedies.ROUNDED_EXPORT),
        ("size", remedies.TOO_LARGE),
        ("speed", remedies.TOO_SLOW),
        ("speeches", remedies.WORSE),
        ("plays", remedies.FORGOTTEN),
    ]
    few = against(over(1.7), over(1.78), ROLES, GateConfig())
    assert {c.remedy for c in few} == {remedies.FEW_PASSAGES}
    document = SimpleNamespace(sha256="ab" * 32, doc_id="speeches/x", split="train", text="x")
    assert leaked([document], [document], sketch([])).remedy == remedies.LEARNED


def test_a_condition_that_holds_needs_no_remedy():
    lenient = GateConfig(min_passages=20, max_quantization_loss={"int8": 0.05})
    assert {c.remedy for c in every_condition(lenient) if c.holds} == {""}


def texts():
    for value in vars(remedies).values():
        yield from value.values() if isinstance(value, dict) else [value]


def test_a_remedy_names_keys_that_params_have():
    keys = {
        key
        for text in texts()
        if isinstance(text, str)
        for key in re.findall(r"\b[a-z]+\.[a-z]\w+", text)
        if key.split(".")[0] in known_keys(Params, [])
    }
    assert {"gate.min_passages", "finetune.lr", "export.formats"} <= keys
    for key in keys:
        *place, name = key.split(".")
        assert name in known_keys(Params, place), key


def test_a_refusal_states_both_figures_the_difference_and_what_to_type():
    champion, version = (SimpleNamespace(name="minigpt", version=n) for n in ("3", "4"))
    conditions = (
        *rounding({"int8": {"relative_difference": {"plays": 0.002}}}, GateConfig()),
        *against(over(1.86), over(1.78), ROLES, FEW),
    )
    assert refusal(version, champion, conditions, "minigpt").splitlines() == [
        "refused: version 4 does not replace champion (version 3)",
        "  speeches           1.86 against 1.78 bits per byte: worse by 0.08 "
        "(95 %: 0.08 to 0.08); allowed: 0.00",
        f"{'':21}{remedies.WORSE}",
        "  int8 loss          0.2 % on plays; allowed 0.3 %",
        "  plays              2.20 against 2.20 bits per byte: the same",
        "Nothing was changed. To see why: minigpt compare 3 4. To overrule: minigpt registry "
        'promote 4 --force --reason "…" (it is logged).',
    ]
    other = refusal(version, champion, conditions, "minigpt-letters").splitlines()[-1]
    assert "minigpt compare models:/minigpt/3 models:/minigpt/4. " in other
    assert "minigpt registry promote models:/minigpt/4 --force" in other
    verdict = judge(evaluation(base=2.61), EXPORTS, GateConfig())
    lines = refusal(version, None, verdict, "minigpt").splitlines()
    assert lines[0] == "refused: version 4 is not good enough to be the first champion"
    assert lines[1] == "  plays              2.61 against ngram 2.47 bits per byte: worse by 0.14"
    assert lines[2] == f"{'':21}{remedies.BASE}"
    assert "compare" not in lines[-1]
