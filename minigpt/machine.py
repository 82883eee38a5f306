"""What changes the speed and not the recipe: MINIGPT_* settings, read by one class.

What was really used is the platform fingerprint: part of every resume key and of every run's tags.
"""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError

from minigpt.config import Config
from minigpt.errors import ParamsError

PREFIX = "MINIGPT_"
TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun sets beside WORLD_SIZE."""


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
    checkpoint_seconds: NonNegativeFloat = 15
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

    @property
    def memory(self) -> int | None:
        """Bytes of what is computed in; None where only torch knows, and it is not loaded yet."""
        if self.fingerprint()["device"] == "cpu":
            return memory_bytes()
        torch = sys.modules.get("torch")
        if torch is None or self.torch_device != "cuda":
            return None
        return int(torch.cuda.get_device_properties(0).total_memory)

    def check(self) -> None:
        """Refuse at once what a stage would refuse when others have done their work.

        Raises:
            ParamsError: torch cannot use the device that was asked for, or WORLD_SIZE is wrong.
        """
        processes()
        if self.device not in ("auto", "cpu"):  # only torch knows; else it need not be imported
            _ = self.torch_device

    def prepare_torch(self) -> None:
        """Make torch deterministic on this machine's threads. Call before the first tensor."""
        import torch

        torch.set_num_threads(self.threads)
        # The first cosines, exponentials and the like that several threads compute at once have
        # other bits in one process of 60; not where one thread has been there before.
        for function in (torch.cos, torch.sin, torch.exp, torch.log, torch.sqrt, torch.tanh):
            function(torch.ones(8))
        if self.device != "cpu":  # cuBLAS reads it when it starts
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        if self.compile:
            torch.use_deterministic_algorithms(True)
        else:  # the same, without its import of the compiler (seconds)
            torch.set_deterministic_debug_mode("error")
        # Memory that nobody wrote yet is filled for debugging only: 3 to 5 % of a training step.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]

    def fingerprint(self) -> dict[str, Any]:
        """What the bytes of a trained file depend on beside commit and data. No torch is imported.

        `processes` is there for more than one only: nothing else needs to be said of one.

        Raises:
            ParamsError: WORLD_SIZE is wrong.
        """
        count = processes()
        gpus = usable_gpus()[:count] if self.device in ("auto", "cuda") else []
        facts = {
            "platform": f"{sys.platform}-{platform.machine()}",
            "cpu": instruction_set(),
            "python": platform.python_version(),
            "torch": metadata.version("torch"),
            "device": " + ".join(dict.fromkeys(gpus))
            or (self.device if self.device == "mps" else "cpu"),
            "threads": self.threads,
            "micro_batch": self.micro_batch,
            "compile": self.compile,
        }
        return facts if count == 1 else facts | {"processes": count}


def physical_cores() -> int:
    """Cores this process may run on, hyper-threads counted once where the system tells."""
    import psutil

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(psutil.cpu_count(logical=False) or 1, allowed or 1))


def memory_bytes() -> int:
    """Main memory there is, swap too; where this process is in a container, what that may use."""
    import psutil

    sizes = [psutil.virtual_memory().total + psutil.swap_memory().total]
    for limit in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # no container, or no limit
            sizes.append(int((Path("/sys/fs/cgroup") / limit).read_text()))
    return min(sizes)


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


def processes() -> int:
    """How many processes train together: torchrun sets WORLD_SIZE, and what they meet by.

    Raises:
        ParamsError: WORLD_SIZE is no such number, or stands there without the rest of it.
    """
    size = os.environ.get("WORLD_SIZE") or "1"
    if not (size.isdecimal() and int(size)):
        raise ParamsError(
            f"WORLD_SIZE={size!r}: expected a number of processes, which torchrun sets. "
            "Unset WORLD_SIZE"
        )
    if int(size) == 1:
        return 1
    if missing := [name for name in TORCHRUN if not os.environ.get(name, "").strip()]:
        raise ParamsError(
            f"WORLD_SIZE={size}, but {', '.join(missing)} not set: torchrun sets all of them. "
            "To train in one process: unset WORLD_SIZE"
        )
    return int(size)


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver tells of it."""

    name: str
    uuid: str


def usable_gpus() -> list[str]:
    """Names of the GPUs that the installed torch would count, in its order.

    The driver's list, by the build of torch and CUDA_VISIBLE_DEVICES.
    """
    build = torch_builds()
    if "hip" in build and Path("/dev/kfd").exists():
        visible = os.environ.get("HIP_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES"))
        return [] if visible in ("", "-1") else [f"ROCm {visible or '0'}"]
    return visible_gpus(gpus()) if "cuda" in build else []


def torch_builds() -> set[str]:
    """What the installed torch was built for: cuda, hip; neither for a CPU build."""
    file = Path(str(metadata.distribution("torch").locate_file("torch/version.py")))
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:  # an unusual installation: what its version says
        return set() if metadata.version("torch").endswith("+cpu") else {"cuda"}
    return set(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*['\"]", text, re.MULTILINE))


def visible_gpus(installed: list[Gpu]) -> list[str]:
    """Names in the order of CUDA_VISIBLE_DEVICES, which ends at its first entry that is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = sorted({gpu.name for gpu in installed})
    # The fastest comes first by default, so only CUDA knows which one a number means.
    by_bus = len(names) < 2 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if visible is None:
        return [gpu.name for gpu in installed] if by_bus else [" or ".join(names)]
    chosen: list[str] = []
    for entry in (entry.strip() for entry in visible.split(",")):
        number = re.match(r"\d+", entry)
        if number and int(number[0]) < len(installed):
            name = installed[int(number[0])].name
            chosen.append(name if by_bus else f"number {number[0]} of {' or '.join(names)}")
        elif entry.startswith("GPU-") and (same := _with_uuid(installed, entry)):
            chosen.append(same.name)
        elif entry.startswith("MIG-") and installed:
            chosen.append(entry)  # a part of a GPU: its size is in no list
        else:
            break
    return chosen


def _with_uuid(installed: list[Gpu], beginning: str) -> Gpu | None:
    return next((gpu for gpu in installed if gpu.uuid.startswith(beginning)), None)


@cache
def gpus() -> list[Gpu]:
    """The NVIDIA GPUs of this machine, by their bus: from Linux' /proc, else nvidia-smi."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    listed = [dict(re.findall(r"(?m)^([\w ]+):\s*(.*?)\s*$", file.read_text())) for file in files]
    if listed or not (tool := shutil.which("nvidia-smi")):
        return [Gpu(gpu.get("Model", "GPU"), gpu.get("GPU UUID", "")) for gpu in listed]
    query = [tool, "--query-gpu=name,uuid", "--format=csv,noheader"]
    try:  # WSL and Windows list none in /proc
        answer = subprocess.run(
            query, capture_output=True, encoding="utf-8", errors="replace", timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = (line.rpartition(",") for line in answer.stdout.splitlines() if "," in line)
    return [Gpu(name.strip(), uuid.strip()) for name, _, uuid in pairs]
