"""dvc.yaml, params classes and stage scripts say the same."""

import ast
from pathlib import Path

import pytest
import yaml

from minigpt.graph import read_graph
from minigpt.params import STAGE_PARAMS, Params, load_params, sections
from minigpt.presets import load_preset, preset_names

ROOT = Path(__file__).resolve().parents[2]
GRAPH = read_graph(ROOT)


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_reads_exactly_the_sections_that_dvc_tracks(stage):
    assert sorted(sections(STAGE_PARAMS[stage])) == sorted(GRAPH[stage].params)


def test_every_stage_of_the_graph_has_params_and_a_script():
    assert list(GRAPH) == list(STAGE_PARAMS)
    assert {p.stem for p in (ROOT / "stages").glob("*.py")} - {"__init__"} == set(GRAPH)


@pytest.mark.parametrize("stage", GRAPH)
def test_the_command_of_a_stage_names_its_script_and_only_declared_paths(stage):
    spec = GRAPH[stage]
    python, dash_m, module, *paths = spec.cmd.split()
    assert (python, dash_m, module) == ("python", "-m", f"stages.{stage}")
    assert set(paths) <= set(spec.deps) | set(spec.outs)
    assert set(spec.outs) <= set(paths)


@pytest.mark.parametrize("stage", GRAPH)
def test_a_stage_script_is_short_and_has_no_logic(stage):
    text = (ROOT / "stages" / f"{stage}.py").read_text()
    main = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef))
    assert len(text.splitlines()) <= 30
    assert not [n for n in ast.walk(main) if isinstance(n, ast.For | ast.While | ast.If)]


def test_params_yaml_in_git_is_the_default_preset_and_is_allowed():
    assert load_params(Params, ROOT / "params.yaml") == load_preset(ROOT, "shakespeare")


@pytest.mark.parametrize("name", preset_names(ROOT))
def test_every_preset_is_allowed(name):
    assert load_preset(ROOT, name).release.name.startswith("minigpt")


def test_params_yaml_lists_every_section_of_the_graph():
    keys = set(yaml.safe_load((ROOT / "params.yaml").read_text()))
    assert keys == set(sections(Params))
