"""Which files a model is run from, and by which engine. Nothing heavy is imported."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from minigpt.errors import PackageError, ParamsError
from minigpt.machine import Machine, gpus

FILES = {"onnx": "model.onnx", "onnx-int8": "model_int8.onnx", "onnx-int4": "model_int4.onnx"}
"""Name of an engine → the file it runs in a folder that `export` wrote."""
CONFIG = "genai_config.json"
AUTO, TORCH = "auto", "torch"
ENGINES = (AUTO, "onnx-int8", "onnx", "onnx-int4", TORCH)
"""What `--engine` takes. auto: torch where there is a GPU, else onnx-int8 where the model was
exported, else torch (docs/decisions/0048)."""
PREFERRED = "onnx-int8"
EXPORT = "exports/onnx"
"""The export, as a version and a checkout hold it."""


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's files lie, and what it is called."""

    name: str
    """`minigpt 3`; of a folder, its path as it was given."""
    digest: str
    """sha256: of a version its manifest's, of a folder that folder's."""
    engine: str
    """One of ENGINES, not auto."""
    folder: str
    """A package for torch, else an ONNX export."""

    @property
    def id(self) -> str:
        """A name without blanks, for programs: `minigpt-3`."""
        return self.name.replace(" ", "-")

    def as_json(self) -> dict[str, Any]:
        """For another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """Undo `as_json`."""
        return cls(**value)


def engine_of(asked: str, exported: bool, name: str, machine: Machine) -> str:
    """The engine that `asked` stands for, of a model that may have an ONNX export.

    Raises:
        ParamsError: there is no such engine.
        PackageError: the model was not exported for it.
    """
    if asked not in ENGINES:
        raise ParamsError(f"engine {asked!r}: expected {', '.join(ENGINES)}")
    if asked == AUTO:
        on_gpu = machine.device in ("cuda", "mps") or (machine.device == "auto" and gpus())
        return PREFERRED if exported and not on_gpu else TORCH
    if asked != TORCH and not exported:
        raise PackageError(
            f"{name}: it holds no ONNX export ({EXPORT}), which engine {asked} runs. Take --engine "
            "torch; or name onnx under export.formats in params.yaml, then: make run"
        )
    return asked


def is_export(folder: Path) -> bool:
    """Whether `folder` is an ONNX export."""
    return (folder / CONFIG).is_file()


def is_package(folder: Path) -> bool:
    """Whether `folder` is a package."""
    return (folder / "model.json").is_file()


def is_fused(config: bytes) -> bool:
    """Whether genai_config.json tells of a graph that keeps a cache of its own."""
    try:
        return bool(json.loads(config)["search"]["past_present_share_buffer"])
    except (ValueError, KeyError, TypeError):
        return False
