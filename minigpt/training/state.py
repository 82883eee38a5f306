"""What a training run knows beside weights and optimizer: small, plain, resumable."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

ROWS = 200


@dataclass
class Curve:
    """The loss curve: one row every max_steps / 200 steps and at every validation."""

    interval: int
    """Steps between rows."""
    rows: list[tuple[int, float, float | None, float]] = field(default_factory=list)
    """Step, mean training loss since the row before, validation loss or None, rate."""
    loss_sum: float = 0.0
    """Sum of the losses of the steps since the last row."""
    steps: int = 0
    """Number of those steps."""

    def add(self, loss: float) -> None:
        """Count one step."""
        self.loss_sum += loss
        self.steps += 1

    def close_row(self, step: int, lr: float, val_loss: float | None) -> float:
        """Begin a new row; returns the mean training loss of the one that ends."""
        mean = self.loss_sum / self.steps
        self.rows.append((step, mean, val_loss, lr))
        self.loss_sum, self.steps = 0.0, 0
        return mean

    def csv(self) -> str:
        """The file that `dvc plots` reads."""
        lines = [
            f"{step},{loss:.4f},{'' if val is None else f'{val:.4f}'},{lr:.6g}"
            for step, loss, val, lr in self.rows
        ]
        return "\n".join(["step,train_loss,val_loss,lr", *lines]) + "\n"


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
