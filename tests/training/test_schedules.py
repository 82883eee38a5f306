import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_training import CONFIG, new_model, new_run, train_tiny

from minigpt.training.config import (
    CosineSchedule,
    LinearSchedule,
    Steps,
    StepSchedule,
    WsdSchedule,
)
from minigpt.training.schedules import multiplier

KINDS = [CosineSchedule, LinearSchedule, StepSchedule, WsdSchedule]


@given(
    kind=st.sampled_from(KINDS),
    warmup=st.integers(0, 50),
    floor=st.floats(0, 1),
    max_steps=st.integers(1, 300),
    data=st.data(),
)
def test_every_schedule_stays_above_zero_and_below_the_peak(kind, warmup, floor, max_steps, data):
    step = data.draw(st.integers(0, max_steps - 1))
    schedule = kind(warmup_steps=warmup, min_lr_ratio=floor)
    assert 0 < multiplier(schedule, step, max_steps) <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_warmup_rises_in_a_straight_line(kind):
    schedule = kind(warmup_steps=4, min_lr_ratio=1)
    assert [multiplier(schedule, step, 1000) for step in range(5)] == [0.25, 0.5, 0.75, 1, 1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_never_rises_after_warmup(kind):
    rates = [multiplier(kind(warmup_steps=0), step, 50) for step in range(50)]
    assert rates == sorted(rates, reverse=True)


def test_wsd_is_flat_then_falls_to_the_floor():
    schedule = WsdSchedule(warmup_steps=0, decay_share=0.5, min_lr_ratio=0.2)
    assert [multiplier(schedule, step, 4) for step in range(4)] == pytest.approx([1, 1, 1, 0.6])


def test_step_drops_by_its_factor_but_not_below_the_floor():
    schedule = StepSchedule(warmup_steps=0, drops=(0.5, 0.75), factor=0.1, min_lr_ratio=0.05)
    assert [multiplier(schedule, step, 4) for step in range(4)] == pytest.approx([1, 1, 0.1, 0.05])


def test_a_warm_up_that_never_ends_is_said_before_the_first_step(tokens, tmp_path):
    run, said = new_run(tmp_path), []
    run.say = said.append
    slow = CONFIG.replace(
        duration=Steps(max_steps=10), schedule=CONFIG.schedule.replace(warmup_steps=20)
    )
    train_tiny(tokens, run, slow, new_model())
    assert said[0].startswith("pretrain.schedule.warmup_steps: 20, but there are 10 steps")
