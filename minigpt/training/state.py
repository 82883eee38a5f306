"""What a training run knows beside weights and optimizer: small, plain, resumable."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from minigpt.files import write_text

ROWS = 200


@dataclass
class Curve:
    """The loss curves: one row every max_steps / 200 steps and at every validation."""

    interval: int
    """Steps between rows."""
    rows: list[tuple[int, float | None, float | None, float]] = field(default_factory=list)
    """Step, mean training loss since the row before, validation loss, rate.

    No training loss before the first step, no validation loss where nothing was validated."""
    loss_sum: float = 0.0
    """Sum of the losses of the steps since the last row."""
    steps: int = 0
    """Number of those steps."""

    def add(self, loss: float) -> None:
        """Count one step."""
        self.loss_sum += loss
        self.steps += 1

    @property
    def train_loss(self) -> float:
        """The mean training loss of the last row that has one; NaN before the first step."""
        losses = [loss for _, loss, _, _ in self.rows if loss is not None]
        return losses[-1] if losses else math.nan

    def close_row(self, step: int, lr: float, val_loss: float | None) -> float | None:
        """Begin a new row; returns the mean training loss of the one that ends."""
        mean = self.loss_sum / self.steps if self.steps else None
        self.rows.append((step, mean, val_loss, lr))
        self.loss_sum, self.steps = 0.0, 0
        return mean

    def write(self, folder: Path) -> None:
        """Write train.csv and val.csv: two files, for `dvc plots` draws an empty cell as 0."""
        train = [
            f"{step},{loss:.4f},{lr:.6g}" for step, loss, _, lr in self.rows if loss is not None
        ]
        val = [f"{step},{loss:.4f}" for step, _, loss, _ in self.rows if loss is not None]
        for name, lines in (
            ("train.csv", ["step,train_loss,lr", *train]),
            ("val.csv", ["step,val_loss", *val]),
        ):
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
        curve = {**state["curve"], "rows": [tuple(row) for row in state["curve"]["rows"]]}
        self.curve, self.step, self.tokens = Curve(**curve), state["step"], state["tokens"]
