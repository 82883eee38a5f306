"""The stages of dvc.yaml as DVC understands them, in an order that runs."""

import contextlib
import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.lock import LockError
from dvc.repo import Repo

from minigpt.errors import BusyError, DataError, MiniGPTError, ParamsError


@dataclass(frozen=True)
class Stage:
    """One stage of the graph; paths are relative to the project's root."""

    name: str
    needs: tuple[str, ...]
    """Stages whose outputs this one reads."""
    retries: int
    """`meta: {retries: n}`: how often a flow tries again."""
    deps: tuple[str, ...]
    outs: tuple[str, ...]


def read_stages(root: Path, until: str | None = None) -> list[Stage]:
    """The stages in topological order, ties in the order of dvc.yaml; with `until`, what it needs.

    Raises:
        ParamsError: dvc.yaml or dvc.lock cannot be read, or there is no stage `until`.
    """
    with opened(root) as repo:
        return _stages_in(repo, until)


def in_order(stages: Mapping[str, Stage], until: str | None = None) -> list[Stage]:
    """Depth first from `until` (or from every stage in turn): what is needed comes first."""
    ordered: dict[str, Stage] = {}

    def add(name: str) -> None:
        if name in stages and name not in ordered:
            for needed in sorted(stages[name].needs, key=list(stages).index):
                add(needed)
            ordered[name] = stages[name]

    for name in stages if until is None else [until]:
        add(name)
    return list(ordered.values())


def anything_stale(root: Path, until: str | None = None) -> bool:
    """Whether DVC would run or restore any stage now; with `until`, any of that and what it needs.

    Raises:
        ParamsError: there is no stage `until`.
    """
    with opened(root) as repo, repo.lock:
        nodes = repo.index.stages
        if until is not None:
            asked = {stage.name for stage in _stages_in(repo, until)}
            nodes = [node for node in nodes if node.cmd and node.name in asked]
        return any(node.changed() for node in nodes)


def _stages_in(repo: Repo, until: str | None) -> list[Stage]:
    """The stages of an opened project, in an order that runs."""
    graph = repo.index.graph  # an edge leads from a stage to one that it needs
    stages = {
        node.name: Stage(
            name=node.name,
            needs=tuple(sorted(n.name for n in graph.successors(node) if n.cmd)),
            retries=int((node.meta or {}).get("retries", 0)),
            deps=tuple(dep.def_path for dep in node.deps if dep.protocol == "local"),
            outs=tuple(out.def_path for out in node.outs),
        )
        for node in repo.index.stages
        if node.cmd
    }
    if until is not None and until not in stages:
        near = difflib.get_close_matches(until, stages, n=1)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ParamsError(
            f"until: there is no stage {until!r} in dvc.yaml{hint} There are: {', '.join(stages)}"
        )
    return in_order(stages, until)


@contextlib.contextmanager
def opened(root: Path) -> Iterator[Repo]:
    """DVC's view of `root`; whatever comes out of it is an error of ours."""
    try:
        with Repo(root) as repo:
            yield repo
    except MiniGPTError:
        raise
    except LockError as error:
        raise BusyError(f"another dvc is at work in {root}: {error}") from error
    except DvcException as error:
        reason = " ".join(str(error).split())
        if error.__cause__ is not None:  # the line, or the key
            reason += f": {' '.join(str(error.__cause__).split())[:300]}"
        if "dvc.lock" in reason:
            reason += ". A DVC that was killed can leave half of it. Run: git checkout dvc.lock"
        elif "dvc.yaml" in reason:
            reason += ". Mend it, or: git checkout dvc.yaml"
        raise ParamsError(f"{root.name}: {reason}") from error
    except OSError as error:
        raise DataError(
            f"{error.filename or root}: {error.strerror or error}. DVC reads every file that a "
            "stage depends on: mend it, or take it away"
        ) from error
    except UnicodeError as error:
        name = getattr(error, "object", "")
        raise DataError(
            f"{os.fsencode(name)!r}: the name of a file that a stage depends on is not UTF-8. "
            "Rename it"
        ) from error
    except Exception as error:  # DVC lets through what its parts raise
        said = " ".join(str(error).split()) or "no reason given"
        raise MiniGPTError(
            f"{root.name}: DVC cannot work here: {type(error).__name__}: {said[:300]}. "
            "Its own words: dvc status -v"
        ) from error
