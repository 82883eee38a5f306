"""Resumable state on disk: checkpoint-STEP/ with tensors.safetensors and state.json.

Written under a temporary name, flushed, then renamed; state.json holds the digest of the tensors
and of itself, so that a torn checkpoint is noticed and the one before it is used.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor

from minigpt import seeding
from minigpt.digest import file_digest, text_digest
from minigpt.errors import CheckpointError
from minigpt.files import new_folder, to_json, write_bytes, write_json, writing

FORMAT = 1
KEPT = 2
TENSORS, STATE = "tensors.safetensors", "state.json"


class Part(Protocol):
    """Something with a small, plain state."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved values."""
        ...


class Checkpoints:
    """The checkpoints of one folder: what they hold is named once, then saved and restored."""

    def __init__(
        self,
        workdir: Path,
        tensors: Mapping[str, Tensor],
        parts: Mapping[str, Part],
        every_seconds: float,
    ) -> None:
        """`tensors` are live: read by `save`, filled in place by `restore`."""
        self.workdir, self.tensors, self.parts = workdir, tensors, parts
        self.every_seconds = every_seconds
        self._saved = time.monotonic()

    def restore(self, say: Callable[[str], None]) -> None:
        """Go on from the newest whole checkpoint, if there is one, and say so."""
        if (loaded := load_newest(self.workdir, say)) is None:
            return
        tensors, body = loaded
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(tensors[name])
        seeding.restore({n[4:]: t for n, t in tensors.items() if n.startswith("rng.")})
        for name, part in self.parts.items():
            part.load_state_dict(body["state"][name])
        stopped = max(self._alive.stat().st_mtime if self._alive.exists() else 0, body["saved_at"])
        seconds = stopped - body["saved_at"]
        say(f"resumed at step {body['step']} (checkpoint {seconds:.0f} s before the stop)")

    def step_done(self) -> bool:
        """Note that the run is alive; true if a checkpoint is due."""
        self._alive.touch()
        return time.monotonic() - self._saved >= self.every_seconds

    def not_finite(self) -> str | None:
        """The first tensor with a number in it that is none, if there is one."""
        for name, tensor in self.tensors.items():
            if not tensor.isfinite().all():
                return name
        return None

    def save(self, step: int) -> None:
        """Write a checkpoint now."""
        rng = {f"rng.{name}": value for name, value in seeding.capture().items()}
        state = {name: part.state_dict() for name, part in self.parts.items()}
        save(self.workdir, step, {**self.tensors, **rng}, state)
        self._saved = time.monotonic()

    @property
    def _alive(self) -> Path:
        return self.workdir / "alive"


def save(workdir: Path, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write checkpoint-STEP, whole or not at all, and remove all but the two newest."""
    with new_folder(workdir / f"checkpoint-{step:08d}") as folder:
        plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        write_bytes(folder / TENSORS, to_bytes(plain))
        body = {
            "format": FORMAT,
            "step": step,
            "saved_at": time.time(),
            "state": dict(state),
            "sha256": {TENSORS: file_digest(folder / TENSORS)},
        }
        write_json(folder / STATE, {**body, "self": text_digest([to_json(body)])})
    with writing(workdir):
        sync(workdir)
    for old in saved(workdir)[KEPT:]:
        shutil.rmtree(old)


def load_newest(
    workdir: Path, say: Callable[[str], None]
) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and state.json of the newest whole checkpoint; None if there is none.

    Raises:
        CheckpointError: it is of a format that this code does not read, or may not be read.
    """
    for path in saved(workdir):
        try:
            return load(path)
        except OSError as error:
            if not isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
                # It may be whole: what is not torn is not to be removed.
                raise CheckpointError(
                    f"{error.filename or path}: {error.strerror}. Mend that, then run the same "
                    "command; to begin anew instead: minigpt clean"
                ) from error
            torn = f"{error.strerror}: {Path(error.filename).name}"
        except (ValueError, KeyError, SafetensorError) as error:
            torn = str(error)
        say(f"{path.name} is torn ({torn}); it is left out, the one before it is used")
        shutil.rmtree(path, ignore_errors=True)
    return None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """One checkpoint, checked. Raises ValueError where the contents are not what was written."""
    body: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    if body.pop("self") != text_digest([to_json(body)]):
        raise ValueError(f"{STATE} does not match its digest")
    if body["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: format {body['format']}, this code reads {FORMAT}. Run: minigpt clean"
        )
    for name, sha256 in body["sha256"].items():
        if file_digest(path / name) != sha256:
            raise ValueError(f"{name} does not match its digest")
    return load_file(path / TENSORS), body


def saved(workdir: Path) -> list[Path]:
    """The checkpoints of a folder, newest first."""
    return sorted(workdir.glob("checkpoint-*"), reverse=True)


def sync(folder: Path) -> None:
    """Make sure that a folder's new name is on the disk (Windows cannot flush a folder)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
