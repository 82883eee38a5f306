"""The table of roles agrees with what it points at."""

from pathlib import Path

import pytest

from minigpt.evaluation.config import MODELS
from minigpt.graph import read_graph
from minigpt.params import Params
from minigpt.roles import FINETUNE, PRETRAIN, ROLES, final_model, main_first, main_role, of_role

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_what_a_role_points_at_is_there(role):
    graph = read_graph(ROOT)
    assert f"data/tokens/{role.name}" in graph[role.stage].deps
    assert f"models/{role.model}" in graph[role.stage].outs
    assert role.model in MODELS
    assert role.against is None or role.against in MODELS
    assert f"{role.name}_bytes" in type(Params().validation).model_fields


def test_sources_of_the_main_role_come_first():
    roles = {"b": PRETRAIN.name, "d": FINETUNE.name, "c": FINETUNE.name, "a": PRETRAIN.name}
    assert main_first(roles) == ["c", "d", "a", "b"]
    assert of_role(roles, FINETUNE) == ["c", "d"]


@pytest.mark.parametrize(
    ("names", "main"), [(ROLES, FINETUNE), (["finetune", "pretrain"], FINETUNE)]
)
def test_the_last_training_is_what_a_version_is_for(names, main):
    assert main_role(names) == main
    assert final_model({ROLES[name].model for name in names}) == main.model


def test_without_fine_tuning_that_is_the_base():
    assert main_role(["pretrain", "pretrain"]) == PRETRAIN
    assert main_role([]) == PRETRAIN
    assert main_first({"b": "pretrain", "a": "pretrain"}) == ["a", "b"]
    assert final_model({"base": {}, "baselines": {}, "test": {}}) == "base"
