"""torch's random state: captured in checkpoints, put back on resume."""

from typing import Any


def capture() -> dict[str, Any]:
    """Torch's random state (CPU and every CUDA device) as a dict of byte tensors."""
    import torch

    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return state


def restore(state: dict[str, Any]) -> None:
    """Put back what `capture` returned."""
    import torch

    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state[f"cuda{i}"] for i in range(len(state) - 1)])
