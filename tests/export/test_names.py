"""Names in other people's words."""

import pytest

from minigpt.errors import ExportError
from minigpt.export.formats.hf import QWEN3
from minigpt.export.names import translate


def test_a_layers_number_is_kept():
    names = translate(["embed.weight", "blocks.12.mlp.down.weight"], QWEN3, "hf")
    assert names == {
        "embed.weight": "model.embed_tokens.weight",
        "blocks.12.mlp.down.weight": "model.layers.12.mlp.down_proj.weight",
    }


def test_every_unknown_name_is_named():
    with pytest.raises(ExportError, match=r"hf: .*'blocks.0.mlp.router.weight', 'position.weight'"):
        translate(["position.weight", "blocks.0.mlp.router.weight", "norm.weight"], QWEN3, "hf")
