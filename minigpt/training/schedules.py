"""Learning-rate schedules: pure functions of the step that give a multiple of the peak."""

import math
from typing import assert_never

from minigpt.training.config import (
    CosineSchedule,
    LinearSchedule,
    StepSchedule,
    WsdSchedule,
)


def multiplier(
    schedule: CosineSchedule | LinearSchedule | StepSchedule | WsdSchedule,
    step: int,
    max_steps: int,
) -> float:
    """The rate of step 0 … max_steps - 1 as a fraction of its peak, in (0, 1]."""
    warmup = min(1.0, (step + 1) / schedule.warmup_steps) if schedule.warmup_steps else 1.0
    done = step / max_steps
    match schedule:
        case CosineSchedule():
            shape = (1 + math.cos(math.pi * done)) / 2
        case LinearSchedule():
            shape = 1 - done
        case WsdSchedule(decay_share=share):
            shape = min(1.0, (1 - done) / share) if share else 1.0
        case StepSchedule(drops=drops, factor=factor):
            shape = factor ** sum(done >= drop for drop in drops)
            return warmup * max(shape, schedule.min_lr_ratio)
        case _:
            assert_never(schedule)
    return warmup * (schedule.min_lr_ratio + (1 - schedule.min_lr_ratio) * shape)
