"""Lanes, precision, curve, meter and config: the small objects around the loop."""

from collections import Counter

import pytest
import torch
from pydantic import ValidationError
from tiny_training import MACHINE, MODEL, new_model

from minigpt.training.config import (
    Epochs,
    FinetuneConfig,
    Phase,
    PretrainConfig,
    PretrainParams,
    Steps,
    WsdSchedule,
)
from minigpt.training.lanes import Lanes, lane_count
from minigpt.training.loop import TrainResult
from minigpt.training.meter import Meter, measure_peak
from minigpt.training.precision import make_precision
from minigpt.training.state import Curve, TrainState


def test_lanes_answer_in_order_and_inherit_whether_gradients_are_on():
    with Lanes(2, threads=2) as lanes:
        assert lanes.run([lambda i=i: i for i in range(20)]) == list(range(20))
        with torch.no_grad():
            assert lanes.run([torch.is_grad_enabled] * 2) == [False, False]
        assert lanes.run([torch.is_grad_enabled] * 2) == [True, True]


def test_lanes_share_the_cores_and_give_them_back():
    before = torch.get_num_threads()
    with Lanes(2, threads=4) as lanes:
        assert lanes.run([torch.get_num_threads]) == [2]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "sequences", "lanes"),
    [
        ({"threads": 2}, [16, 8, 4], 2),
        ({"threads": 8}, [16, 8, 4], 4),
        ({"threads": 2}, [5], 1),
        ({"threads": 8, "device": "cuda"}, [16], 1),
        ({"threads": 8, "compile": True}, [16], 1),
    ],
)
def test_lane_count_divides_every_batch(settings, sequences, lanes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: "device" in settings)
    assert lane_count(MACHINE.replace(**settings), sequences) == lanes


def test_bf16_works_with_a_rounded_copy_of_the_masters():
    model = new_model()
    precision = make_precision("bf16", model)
    with torch.no_grad():
        model.blocks[0].mlp.up.weight.fill_(1 / 3)
    precision.refresh()
    copied = precision.working.blocks[0].mlp.up.weight
    assert model.blocks[0].mlp.up.weight.dtype == torch.float32
    assert torch.equal(copied, torch.full_like(copied, 1 / 3))


def test_fp32_works_with_the_masters_themselves():
    model = new_model()
    assert make_precision("fp32", model).working is model


def test_fp16_leaves_out_a_step_that_overflowed_and_halves_the_scale():
    precision = make_precision("fp16", new_model())
    grad = torch.full((2,), precision.scale)
    assert precision.usable([grad])
    assert grad.tolist() == [1.0, 1.0]
    assert not precision.usable([torch.tensor([float("inf")])])
    assert precision.scale == 2.0**15
    other = make_precision("fp16", new_model())
    other.load_state_dict(precision.state_dict())
    assert (other.scale, other.good_steps) == (2.0**15, 0)


def test_curve_rows_are_means_since_the_row_before(tmp_path):
    curve = Curve(interval=2)
    for loss in (4.0, 2.0):
        curve.add(loss)
    curve.close_row(2, lr=0.02)
    curve.add(1.0)
    curve.close_row(3, lr=0.01)
    curve.close_row(3, lr=0.01)  # nothing since
    curve.val += [(0, 4.5), (3, 1.23456)]
    curve.write(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "train.csv": "step,train_loss,lr\n2,3.0000,0.02\n3,1.0000,0.01\n",
        "val.csv": "step,val_loss\n0,4.5000\n3,1.2346\n",
    }


def test_training_far_below_validation_is_called_learning_by_heart():
    curve = Curve(interval=1, train=[(1, 4.0, 0.1), (2, 1.5, 0.1), (3, 0.5, 0.1)])
    curve.val = [(0, 4.0), (1, 2.0), (3, 2.5)]
    assert curve.last_train_loss == 1.0
    assert curve.memorising
    curve.val = [(0, 4.0), (1, 2.0), (3, 1.3)]
    assert not curve.memorising


def test_of_two_validations_that_are_equal_the_earlier_is_the_best():
    curve = Curve(interval=1, val=[(0, 4.0)])
    assert (curve.best_step, curve.validations_since_best) == (0, 0)
    curve.val += [(5, 2.0), (9, 2.0), (12, 2.5)]
    assert (curve.best_step, curve.validations_since_best) == (5, 2)


def test_advice_promises_no_better_step_where_the_last_is_the_best():
    curve = Curve(interval=1, train=[(1, 3.0, 0.1), (2, 1.0, 0.1)], val=[(0, 4.0), (1, 3.0)])
    curve.val.append((2, 2.5))
    advice = TrainResult(curve, steps=2, kept_step=2, tokens=2, n_trained=1).advice("finetune")
    assert advice.startswith("memorising: at the end the loss is 1.00 in training and 2.50 on")
    assert "keep" not in advice


def test_state_survives_a_round_trip():
    state = TrainState.new(400)
    state.advance(64, 3.0)
    state.curve.close_row(1, 0.1)
    state.curve.val.append((1, 2.5))
    other = TrainState.new(400)
    other.load_state_dict(state.state_dict())
    assert other == state


def test_progress_line_says_step_loss_rate_speed_and_time_left():
    meter = Meter(max_steps=1800, peak_flops=1e9)
    meter.seconds_a_step, meter.tokens_per_second = 0.156, 13_100
    expected = "step 610/1800 · loss 3.91 · lr 0.02 · 13.1k tok/s · 3:06 left"
    assert meter.line(610, 3.912, 0.02) == expected


def test_meter_measures_and_peak_is_positive():
    meter = Meter(max_steps=2, peak_flops=measure_peak(torch.float32, torch.device("cpu"), 64))
    meter.start()
    meter.stop(tokens=10, flops=1.0)
    assert meter.tokens_per_second > 0
    assert 0 < meter.metrics()["train/mfu"] < 1


def test_lengths_follow_the_phases():
    phases = (Phase(share=0.4, divisor=4), Phase(share=0.3, divisor=2), Phase(share=0.3))
    config = PretrainConfig(phases=phases)
    lengths = [config.length(step, steps=10, context_length=16) for step in range(10)]
    assert lengths == [4, 4, 4, 4, 8, 8, 8, 16, 16, 16]


@pytest.mark.parametrize(
    ("duration", "steps"),
    [
        (Steps(max_steps=7), 7),
        (Epochs(epochs=3, max_steps=None), 18),  # 6 steps a pass: 1,024 of 2,048 are new
        (Epochs(epochs=3, max_steps=11), 11),
        (Epochs(epochs=0.01, max_steps=11), 1),
    ],
)
def test_steps_follow_from_passes_over_the_new_text(duration, steps):
    config = FinetuneConfig(duration=duration, tokens_per_step=2048, replay=0.5)
    assert config.steps(6 * 1024) == steps
    assert config.passes(steps=12, tokens=6 * 1024) == 2


def test_phases_that_do_not_fill_the_training_are_refused():
    with pytest.raises(ValidationError, match=r"shares of phases add up to 0\.9"):
        PretrainConfig(phases=(Phase(share=0.9),))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"phases": (Phase(share=1, divisor=3),)}, "3 does not divide 16, the context_length"),
        ({"tokens_per_step": 100}, "100 is no multiple of 16"),
    ],
)
def test_phases_that_do_not_fit_the_model_are_refused(changes, reason):
    config = PretrainConfig(phases=(Phase(share=1),)).replace(**changes)
    with pytest.raises(ValidationError, match=reason):
        PretrainParams(model=MODEL, pretrain=config)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 24, 301])
@pytest.mark.parametrize("shares", [(1.0,), (0.4, 0.3, 0.3), (0.1,) * 10, (0.999, 0.001)])
def test_lengths_counted_are_those_of_every_step(steps, shares):
    """`plan` and the loop ask once, not ten million times."""
    phases = tuple(Phase(share=share, divisor=2 ** (i % 3)) for i, share in enumerate(shares))
    config = PretrainConfig(phases=phases)
    one_by_one = Counter(config.length(step, steps, 512) for step in range(steps))
    assert config.steps_by_length(steps, 512) == one_by_one


def test_a_warm_up_longer_than_the_training_is_said():
    config = PretrainConfig(schedule=WsdSchedule(warmup_steps=300))
    assert config.warm_up_remark(300) is None
    assert config.warm_up_remark(30) == (
        "schedule.warmup_steps: 300, but there are 30 steps: the rate never reaches more than "
        "10% of lr"
    )
