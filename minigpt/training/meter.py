"""How fast it goes: tokens a second, model FLOPs utilisation, time left.

For people and MLflow only: none of it reaches an output.
"""

import time

import torch

DECAY = 0.95


class Meter:
    """Speed of the recent steps."""

    def __init__(self, max_steps: int, peak_flops: float) -> None:
        """`peak_flops`: operations a second the device can do in this precision."""
        self.max_steps, self.peak_flops = max_steps, peak_flops
        self.seconds_a_step = 0.0
        self.tokens_per_second = 0.0
        self.mfu = 0.0
        self._last = time.perf_counter()

    def start(self) -> None:
        """Time begins to count for the next step."""
        self._last = time.perf_counter()

    def stop(self, tokens: int, flops: float) -> None:
        """A step of `tokens` tokens and `flops` operations has ended."""
        seconds = time.perf_counter() - self._last
        old = self.seconds_a_step
        self.seconds_a_step = DECAY * old + (1 - DECAY) * seconds if old else seconds
        self.tokens_per_second = tokens / self.seconds_a_step
        self.mfu = flops / self.seconds_a_step / self.peak_flops

    def metrics(self) -> dict[str, float]:
        """Beside the loss: trackers show what shares a prefix together, and prefixes sorted."""
        return {"train/tokens_per_second": self.tokens_per_second, "train/mfu": self.mfu}

    def line(self, step: int, loss: float, lr: float) -> str:
        """`step 610/1800 · loss 3.91 · lr 0.020 · 13.1k tok/s · 3:05 left`."""
        left = round((self.max_steps - step) * self.seconds_a_step)
        speed = self.tokens_per_second
        shown = f"{speed / 1000:.1f}k" if speed >= 1000 else f"{speed:.0f}"
        return (
            f"step {step}/{self.max_steps} · loss {loss:.2f} · lr {lr:.3g} · {shown} tok/s · "
            f"{left // 60}:{left % 60:02d} left"
        )


def measure_peak(dtype: torch.dtype, device: torch.device, size: int = 1024) -> float:
    """Operations a second of a square matrix product, best of five: the 'peak' of MFU."""
    a = torch.ones(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(6):  # the first one warms up
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for a GPU too
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best
