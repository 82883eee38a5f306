"""What a training run knows beside weights and optimizer: small, plain, resumable."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from minigpt.files import write_text

ROWS = 200
MEMORISING = 0.75
"""A training loss below this share of the validation loss is learning by heart."""


@dataclass
class Curve:
    """The loss curve: training every max_steps / 200 steps, validation as often as it was done."""

    interval: int
    """Steps between rows of training."""
    train: list[tuple[int, float, float]] = field(default_factory=list)
    """Step, mean training loss since the row before, rate."""
    val: list[tuple[int, float]] = field(default_factory=list)
    """Step, validation loss; the first is that of step 0."""
    loss_sum: float = 0.0
    """Sum of the losses of the steps since the last row of training."""
    steps: int = 0
    """Number of those steps."""

    def add(self, loss: float) -> None:
        """Count one step."""
        self.loss_sum += loss
        self.steps += 1

    def close_row(self, step: int, lr: float) -> None:
        """Begin a new row of training, where steps were counted since the last one."""
        if self.steps:
            self.train.append((step, self.loss_sum / self.steps, lr))
            self.loss_sum, self.steps = 0.0, 0

    @property
    def last_train_loss(self) -> float:
        """The mean over the rows of training between the last two validations."""
        since = self.val[-2][0] if len(self.val) > 1 else 0
        losses = [loss for step, loss, _ in self.train if step > since]
        return math.fsum(losses) / len(losses)

    @property
    def best_step(self) -> int:
        """Steps done at the lowest validation loss; of two that are equal, the earlier."""
        return min(self.val, key=lambda row: row[1])[0]

    @property
    def validations_since_best(self) -> int:
        """How many came behind it and were no better."""
        return sum(step > self.best_step for step, _ in self.val)

    @property
    def memorising(self) -> bool:
        """Whether training ended far below the last validation."""
        return self.last_train_loss < MEMORISING * self.val[-1][1]

    def write(self, folder: Path) -> None:
        """Write train.csv and val.csv: two files, for `dvc plots` draws an empty cell as 0."""
        train = ["step,train_loss,lr", *(f"{n},{loss:.4f},{lr:.6g}" for n, loss, lr in self.train)]
        val = ["step,val_loss", *(f"{n},{loss:.4f}" for n, loss in self.val)]
        for name, lines in (("train.csv", train), ("val.csv", val)):
            write_text(folder / name, "\n".join(lines) + "\n")


@dataclass
class TrainState:
    """Progress of a run; goes into state.json as it is."""

    curve: Curve
    step: int = 0
    """Steps done."""
    tokens: int = 0
    """Target tokens seen."""

    @classmethod
    def new(cls, max_steps: int) -> Self:
        """Nothing done yet."""
        return cls(Curve(interval=max(1, max_steps // ROWS)))

    def advance(self, tokens: int, loss: float) -> None:
        """Count one step of so many tokens."""
        self.step += 1
        self.tokens += tokens
        self.curve.add(loss)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved values."""
        curve = state["curve"]
        rows = {name: [tuple(row) for row in curve[name]] for name in ("train", "val")}
        self.curve = Curve(**{**curve, **rows})
        self.step, self.tokens = state["step"], state["tokens"]
