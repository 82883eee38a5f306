import pytest
from pydantic import ValidationError

from minigpt.model.config import ModelConfig


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        ({"n_embd": 256, "n_head": 7}, "n_head", "7 does not divide n_embd (256); try 4 or 8"),
        ({"n_kv_head": 2}, "n_kv_head", "2 does not divide n_head (3); try 1 or 3"),
        ({"n_embd": 9, "n_head": 3}, "position", "a head is 3 wide; make it even"),
        ({"tied": True}, "embedding_norm", "a tied table cannot be normalised"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_by_name(values, place, message):
    with pytest.raises(ValidationError) as error:
        ModelConfig.model_validate(values)
    (problem,) = error.value.errors()
    assert problem["loc"] == (place,)
    assert message in problem["msg"]


def test_a_head_dim_of_its_own_frees_n_head_from_n_embd():
    assert ModelConfig(n_embd=256, n_head=7, n_kv_head=1, head_dim=32).head_width == 32


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValidationError, match="rope"):
        ModelConfig.model_validate({"position": {"kind": "sinus"}})
