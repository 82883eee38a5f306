"""The weights that validated best so far; a part of every checkpoint, so that resuming is exact."""

from typing import Any

import torch
from torch import Tensor

from minigpt.model.gpt import GPT


class Best:
    """Remembers the best validation, and its weights where those are to be kept."""

    def __init__(self, model: GPT, *, keep_weights: bool) -> None:
        """`model` as it is before the first step."""
        self.model = model
        self.weights: dict[str, Tensor] = {}
        """Parameter name → its values at `step`; empty where they are not kept."""
        if keep_weights:
            self.weights = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.loss: float | None = None
        """The lowest validation loss in nats a token; None before the first validation."""
        self.step = 0
        """Steps done when it was measured."""
        self.worse = 0
        """Validations since then."""

    def see(self, step: int, loss: float) -> None:
        """Take note of a validation; of two that are equal the earlier one is kept."""
        if self.loss is not None and loss >= self.loss:
            self.worse += 1
            return
        self.loss, self.step, self.worse = loss, step, 0
        with torch.no_grad():
            for name, parameter in self.model.named_parameters() if self.weights else ():
                self.weights[name].copy_(parameter)

    def restore(self) -> None:
        """Give the model the kept weights, if they were kept."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters() if self.weights else ():
                parameter.copy_(self.weights[name])

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the weights are the checkpoint's tensors."""
        return {"loss": self.loss, "step": self.step, "worse": self.worse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved values."""
        self.loss, self.step, self.worse = state["loss"], state["step"], state["worse"]
