"""What changes the speed and not the recipe: MINIGPT_* settings, read by one class.

What was really used is the platform fingerprint: part of every resume key and of every run's tags.
"""

import os
import platform
import sys
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError

from minigpt.config import Config
from minigpt.errors import ParamsError

PREFIX = "MINIGPT_"


class Machine(Config):
    """Settings of this machine; each field is MINIGPT_<FIELD> in the environment."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to compute. auto: cuda where there is one, else cpu (mps by choice only)."""
    threads: PositiveInt = Field(default_factory=lambda: physical_cores(), le=1024)
    """Threads of one process; default: physical cores."""
    micro_batch: PositiveInt | None = None
    """Sequences per forward pass; default: as many as one step holds."""
    compile: bool = False
    """Use torch.compile (its bits differ from eager's: part of the fingerprint)."""
    checkpoint_seconds: NonNegativeFloat = Field(default=15, allow_inf_nan=False)
    """Seconds between checkpoints of a training stage."""
    tracker: Literal["mlflow", "none"] = "mlflow"
    """Where runs are recorded."""
    cache: Path = Path(".cache")
    """Where fetched archives are kept, by sha256; share one between checkouts to fetch once."""

    @classmethod
    def load(cls) -> "Machine":
        """Read the environment.

        Raises:
            ParamsError: a MINIGPT_ setting has a value that is not allowed.
        """
        values = {
            name: os.environ[PREFIX + name.upper()]
            for name in cls.model_fields
            if os.environ.get(PREFIX + name.upper())
        }
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise ParamsError(f"{name}={first['input']!r}: {first['msg']}") from error

    @cached_property
    def torch_device(self) -> str:
        """The device to use: what `auto` stands for here, or the one asked for. Imports torch.

        Raises:
            ParamsError: torch cannot use the device that was asked for.
        """
        import torch

        there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if self.device == "auto":
            return "cuda" if there["cuda"] else "cpu"
        if not there.get(self.device, True):
            raise ParamsError(
                f"{PREFIX}DEVICE={self.device}: torch {torch.__version__} finds no such device "
                f"here. Unset {PREFIX}DEVICE, or install the driver or another build of torch."
            )
        return self.device

    def prepare_torch(self) -> None:
        """Make torch deterministic on this machine's threads. Call before the first tensor."""
        import torch

        torch.set_num_threads(self.threads)
        if self.device != "cpu":  # cuBLAS reads it when it starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if self.compile:
            torch.use_deterministic_algorithms(True)
        else:  # the same, without its import of the compiler (seconds)
            torch.set_deterministic_debug_mode("error")
        # Memory that nobody wrote yet is filled for debugging only: 3 to 5 % of a training step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def fingerprint(self) -> dict[str, Any]:
        """What the bytes of a trained file depend on beside commit and data."""
        return {
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpu": instruction_set(),
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "device": gpu_name() or "cpu" if self.device in ("auto", "cuda") else self.device,
            "threads": self.threads,
            "micro_batch": self.micro_batch,
            "compile": self.compile,
        }


def physical_cores() -> int:
    """Cores this process may run on, hyper-threads counted once where the system tells."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed or 1))


def instruction_set() -> str:
    """The widest vector unit, which decides which kernels run: amx-bf16, avx512-bf16, avx2."""
    try:
        flags = set(
            Path("/proc/cpuinfo").read_text().split("flags", 1)[1].split("\n", 1)[0].split()
        )
    except (OSError, IndexError):
        return platform.processor() or "unknown"
    for flag in ("amx_bf16", "avx512_bf16", "avx512f", "avx2"):
        if flag in flags:
            return flag.replace("_", "-")
    return "baseline"


def gpu_name() -> str | None:
    """The first CUDA device's name, by its driver and without torch; None where there is none."""
    for information in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in information.read_text().splitlines():
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return None
