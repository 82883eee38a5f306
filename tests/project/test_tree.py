"""What lands is what was run: the committed dvc.lock belongs to the tree beside it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]


def read(name: str) -> Any:
    """A YAML file as DVC reads it (YAML 1.2: 1e-06 is a number)."""
    return YAML(typ="safe").load((ROOT / name).read_text())


def md5(path: Path) -> str:
    """DVC's hash of a dep: md5 of a file, or of the sorted JSON list of a folder's files."""
    if path.is_file():
        return hashlib.md5(path.read_bytes()).hexdigest()
    files = [p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    entries = sorted(
        ({"md5": md5(p), "relpath": p.relative_to(path).as_posix()} for p in files),
        key=lambda entry: entry["relpath"],
    )
    return hashlib.md5(json.dumps(entries).encode()).hexdigest() + ".dir"


def test_the_code_and_params_of_the_committed_lock_are_those_of_the_tree():
    params = read("params.yaml")
    stale = []
    for name, stage in read("dvc.lock")["stages"].items():
        for dep in stage["deps"]:
            code = dep["path"].startswith(("stages/", "minigpt"))
            if code and md5(ROOT / dep["path"]) != dep["md5"]:
                stale.append(f"{name}: {dep['path']}")
        for section, value in stage.get("params", {}).get("params.yaml", {}).items():
            if params[section] != value:
                stale.append(f"{name}: params.yaml {section}")
    assert stale == []


def test_every_stage_of_the_graph_is_in_the_lock():
    graph = read("dvc.yaml")["stages"]
    lock = read("dvc.lock")["stages"]
    assert set(lock) == set(graph)
    assert [lock[name]["cmd"] for name in graph] == [stage["cmd"] for stage in graph.values()]


def test_no_file_of_the_library_is_long():
    long = {
        path.relative_to(ROOT).as_posix(): count
        for folder in ("minigpt", "stages", "pipelines")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}
