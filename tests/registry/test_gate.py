import pytest

from minigpt.registry.config import GateConfig
from minigpt.registry.gate import judge, main_figure, refusal

EXPORTS = {
    "hf": {"greatest_logit_difference": 1e-6},
    "onnx_int8": {"greatest_logit_difference": 0.4, "relative_difference": {"plays": 0.01}},
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


def test_a_refusal_states_both_figures_and_the_difference():
    conditions = judge(evaluation(base=2.61), EXPORTS, GateConfig())
    lines = refusal("4", None, conditions, []).splitlines()
    assert lines[0] == "refused: version 4 is not good enough"
    assert lines[1] == "  plays              2.61 against ngram 2.47 bits per byte: worse by 0.14"
    assert lines[-1].startswith("Nothing was changed.")
