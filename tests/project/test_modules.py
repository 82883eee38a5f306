"""A stage's deps name every module that can change a byte of its outputs."""

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

from minigpt.config import Config
from minigpt.graph import read_graph
from minigpt.params import STAGE_PARAMS
from pipelines.deps import exempt, has_code

ROOT = Path(__file__).resolve().parents[2]


def test_every_module_that_a_stage_loads_lies_under_its_deps(rebuilt):
    to_check_params = loaded_by("minigpt.params")
    missing = {}
    for name, spec in read_graph(ROOT).items():
        own = set().union(*map(loaded_by, configs(STAGE_PARAMS[name]) - {"minigpt.params"}))
        loaded = set(json.loads((rebuilt.modules / f"{name}.json").read_text()))
        for module in sorted(loaded - (to_check_params - own)):
            parts = module.split(".")
            if exempt(module):
                continue
            file = Path(*parts)
            file = file / "__init__.py" if (ROOT / file).is_dir() else file.with_suffix(".py")
            if not has_code(ROOT / file):
                continue
            if not any(file.is_relative_to(dep) for dep in spec.deps):
                missing.setdefault(name, []).append(file.as_posix())
    assert missing == {}


@functools.cache
def loaded_by(module):
    """The modules of ours that importing `module` loads."""
    code = f"import json, sys, {module}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return {name for name in json.loads(done.stdout) if name.startswith("minigpt")}


def test_a_stage_depends_on_the_config_of_its_params_and_of_their_fields():
    for name, spec in read_graph(ROOT).items():
        for config in configs(STAGE_PARAMS[name]):
            file = Path(*config.split(".")).with_suffix(".py")
            if config != "minigpt.params":
                assert any(file.is_relative_to(dep) for dep in spec.deps), (name, file)


def configs(kind, seen=None):
    """The modules of a params class and of every config class in its fields."""
    seen = set() if seen is None else seen
    if isinstance(kind, type) and issubclass(kind, Config):
        seen.add(kind.__module__)
        for field in kind.model_fields.values():
            configs(field.annotation, seen)
    for argument in get_args(kind):
        configs(argument, seen)
    return seen


def test_the_command_line_is_there_before_any_library_but_its_own():
    heavy = {"pydantic", "yaml", "sqlite3", "numpy", "psutil", "dvc"}
    code = f"import sys, minigpt.cli.main; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "\n"


def test_looking_at_help_params_and_data_stages_never_imports_torch():
    for module in (
        "minigpt.cli.main",
        "minigpt.params",
        "stages.download",
        "stages.validate",
        "stages.train_tokenizer",
        "stages.tokenize",
    ):
        code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
        assert (
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
        ), module
