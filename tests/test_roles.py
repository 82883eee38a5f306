"""The table of roles agrees with what it points at."""

from pathlib import Path

import pytest

from minigpt.evaluation.config import MODELS
from minigpt.graph import read_graph
from minigpt.params import Params
from minigpt.registry.config import GateConfig
from minigpt.roles import FINETUNE, MAIN, PRETRAIN, ROLES, main_first, of_role

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_what_a_role_points_at_is_there(role):
    graph = read_graph(ROOT)
    assert f"data/tokens/{role.name}" in graph[role.stage].deps
    assert f"models/{role.model}" in graph[role.stage].outs
    assert role.model in MODELS
    assert role.against is None or role.against in MODELS
    assert role.may_lose in GateConfig.model_fields
    assert f"{role.name}_bytes" in type(Params().validation).model_fields


def test_sources_of_the_main_role_come_first():
    roles = {"b": PRETRAIN.name, "d": MAIN.name, "c": MAIN.name, "a": PRETRAIN.name}
    assert main_first(roles) == ["c", "d", "a", "b"]
    assert of_role(roles, FINETUNE) == ["c", "d"]
