"""The weights that validated best so far; a part of every checkpoint, so that resuming is exact."""

import torch
from torch import Tensor

from minigpt.model.gpt import GPT


class BestWeights:
    """A copy of a model's weights; which step it is of, the loss curve knows."""

    def __init__(self, model: GPT) -> None:
        """Copy `model` as it is before the first step."""
        self.model = model
        self.tensors: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in model.named_parameters()
        }
        """Parameter name → its values, on the model's device."""

    @torch.no_grad()
    def take(self) -> None:
        """Copy the weights that the model has now."""
        for name, parameter in self.model.named_parameters():
            self.tensors[name].copy_(parameter)

    @torch.no_grad()
    def restore(self) -> None:
        """Give the model the copied weights back."""
        for name, parameter in self.model.named_parameters():
            parameter.copy_(self.tensors[name])
