"""One process or many: sums over ranks, so that the loop has no branch for them.

Gradients are summed after the backward pass, in one piece: exact whatever the ranks' shares, with
no wrapper around the model; communication does not overlap the backward pass. FSDP2 is not here
yet: every rank holds the whole model.
"""

import os
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from minigpt.machine import processes


class Parallel(Protocol):
    """What the loop may ask of the other processes."""

    rank: int
    world_size: int
    device: torch.device

    def sum_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all ranks."""
        ...

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """Each number's sum over all ranks."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class SingleProcess:
    """No other processes."""

    rank, world_size = 0, 1

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)

    def sum_tensors(self, tensors: Sequence[Tensor]) -> None:
        """They are the sums already."""

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """They are the sums already."""
        return numbers

    def close(self) -> None:
        """There is no group."""


class Ddp:
    """The processes that torchrun started; each holds the whole model (arXiv:2006.15704)."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        if device == "cuda":
            self.device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(self.device)
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()

    def sum_tensors(self, tensors: Sequence[Tensor]) -> None:
        """One message for all of them."""
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """In double precision."""
        # gloo's numbers stay on the CPU: not every device has doubles.
        device = self.device if self.device.type == "cuda" else None
        flat = torch.tensor(numbers, dtype=torch.float64, device=device)
        dist.all_reduce(flat)
        return tuple(flat.tolist())

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


def make_parallel(device: str) -> Parallel:
    """As torchrun says: it sets WORLD_SIZE."""
    return Ddp(device) if processes() > 1 else SingleProcess(device)
