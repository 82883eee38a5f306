"""What dvc.yaml says of a stage: the one statement of the graph, read as YAML."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from minigpt.digest import digest, remembered, text_digest
from minigpt.errors import DataError, ParamsError

UNREADABLE = (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What PyYAML raises, or a look into what it read, where a file is not what it should be."""


@dataclass(frozen=True)
class StageSpec:
    """One stage of dvc.yaml; paths are relative to the project's root."""

    name: str
    cmd: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]
    """outs, metrics and plots together: everything that the stage writes."""

    def input_digest(self, root: Path, params: Any, fingerprint: Any) -> str:
        """The resume key: a digest of deps (code included), params and platform."""
        try:
            with remembered(root) as of_file:
                deps = [f"{dep} {digest(root / dep, of_file)}" for dep in sorted(self.deps)]
        except FileNotFoundError as error:
            raise DataError(
                f"{self.name} needs {Path(str(error)).as_posix()}, which is not there; dvc repro"
            ) from error
        return text_digest([self.name, self.cmd, *deps, repr(params), repr(fingerprint)])

    def output_digest(self, root: Path) -> str:
        """Digest of everything the stage wrote, the same wherever it was restored from."""
        with remembered(root) as of_file:
            outs = [f"{out} {digest(root / out, of_file)}" for out in sorted(self.outs)]
        return text_digest(outs)


def read_graph(root: Path) -> dict[str, StageSpec]:
    """The stages of `root`/dvc.yaml, in the order of the file.

    Raises:
        ParamsError: it is not there, or is no dvc.yaml.
    """
    path = root / "dvc.yaml"
    if not path.is_file():
        raise ParamsError(f"{path.name} is not in this folder; run from the project's root.")
    try:
        stages = dict(yaml.safe_load(path.read_text(encoding="utf-8"))["stages"])
        return {name: spec_of(name, stage) for name, stage in stages.items()}
    except UNREADABLE as error:  # the marks of a merge, a stage without a cmd
        raise ParamsError(
            f"{path.name} cannot be read: {reason(error)}. Mend it, or: git checkout {path.name}"
        ) from error


def reason(error: Exception) -> str:
    """What one of UNREADABLE says, on one line."""
    return " ".join(str(error).split()) or "nested too deeply"  # RecursionError's may be empty


def spec_of(name: str, stage: Any) -> StageSpec:
    """A stage as dvc.yaml states it.

    Raises:
        ValueError: it has no cmd or no outs, or lists that are none.
    """
    try:
        outs = [*stage["outs"], *stage.get("metrics", []), *stage.get("plots", [])]
        return StageSpec(
            name=name,
            cmd=stage["cmd"],
            deps=tuple(names(stage.get("deps", []))),
            params=tuple(names(stage.get("params", []))),
            outs=tuple(names(outs)),
        )
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"stages.{name} needs a cmd and lists of outs, deps, params") from error


def names(entries: list[Any]) -> list[str]:
    """DVC writes an entry as `name` or as `{name: options}`; this gives the names."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]
