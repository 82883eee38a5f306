"""Arithmetic of forward and backward, behind one object so that the loop has no branch for it.

Master weights stay in fp32. bf16 and fp16 compute with a copy of the model in that type, made anew
after each step: on a CPU autocast would cast every weight in every operation.
"""

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from minigpt.model.gpt import GPT
from minigpt.training.config import Dtype

GROW_AFTER = 2000
SMALLEST_SCALE = 2.0**-14
"""Below fp16's smallest normal number no scale can be what makes gradients overflow."""


class Precision:
    """bf16 and fp32: gradients are used as they come."""

    def __init__(self, model: GPT, dtype: torch.dtype, *, compiled: bool = False) -> None:
        """`model` holds the master weights; `compiled`: run the loss through torch.compile."""
        self.model = model
        self.working = model if dtype == torch.float32 else copy.deepcopy(model).to(dtype)
        """What forward and backward run through."""
        self.loss_sum: Callable[[Tensor, Tensor], Tensor] = self.working.loss_sum
        """Summed loss of ids and targets, (B, T) each."""
        if compiled:
            self.loss_sum = torch.compile(self.working.loss_sum)
        self.dtype = dtype
        self.scale = 1.0
        """What the loss is multiplied by before the backward pass."""

    def usable(self, grads: Iterable[Tensor]) -> bool:
        """Undo the scale in place; false if the step must be left out."""
        del grads
        return True

    def refresh(self) -> None:
        """Bring the working copy up to date with the master weights."""
        if self.working is not self.model:
            pairs = zip(self.working.parameters(), self.model.parameters(), strict=True)
            with torch.no_grad():
                for copied, master in pairs:
                    if master.requires_grad:
                        copied.copy_(master)

    def state_dict(self) -> dict[str, float]:
        """What a resumed run must know."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        del state


class ScaledPrecision(Precision):
    """fp16: the loss is scaled up so that small gradients survive (arXiv:1710.03740)."""

    def __init__(self, model: GPT, *, compiled: bool = False) -> None:
        super().__init__(model, torch.float16, compiled=compiled)
        self.scale = 2.0**16
        self.good_steps = 0

    def usable(self, grads: Iterable[Tensor]) -> bool:
        """Halve the scale after an overflow, double it after 2,000 steps without one."""
        grads = list(grads)
        finite = all(bool(grad.isfinite().all()) for grad in grads)
        for grad in grads:
            grad.div_(self.scale)
        self.good_steps = self.good_steps + 1 if finite else 0
        if not finite:
            self.scale /= 2
        elif self.good_steps % GROW_AFTER == 0:
            self.scale *= 2
        return finite

    def state_dict(self) -> dict[str, float]:
        """Scale and count."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self.scale, self.good_steps = state["scale"], int(state["good_steps"])


def make_precision(dtype: Dtype, model: GPT, *, compiled: bool = False) -> Precision:
    """The arithmetic that params.yaml names."""
    if dtype == "fp16":
        return ScaledPrecision(model, compiled=compiled)
    torch_dtype = torch.bfloat16 if dtype == "bf16" else torch.float32
    return Precision(model, torch_dtype, compiled=compiled)
