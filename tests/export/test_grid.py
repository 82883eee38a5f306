"""Every format × position × shared heads × one table or two: our logits, and our greedy tokens."""

import itertools

import pytest

from minigpt.export.config import ExportConfig
from minigpt.export.verify import continuation, parity, torch_decoder
from minigpt.model.config import POSITIONS

from .conftest import SIZES, TEXT
from .test_exporters import MODELS

pytestmark = pytest.mark.prove  # the others in this folder try some of each
EXACT = [name for name, (_, model) in MODELS.items() if model.exact]
GRID = list(itertools.product(POSITIONS, (4, 2, 1), (False, True), (False, True)))


@pytest.mark.parametrize(("position", "kv_heads", "tied", "qk_norm"), GRID)
@pytest.mark.parametrize("name", EXACT)
def test_a_format_holds_the_model_or_refuses_it(
    make_package, ids, name, position, kv_heads, tied, qk_norm, tmp_path
):
    exporter, model = MODELS[name]
    config = SIZES.replace(
        n_layer=1,
        n_kv_head=kv_heads,
        position=POSITIONS[position](),
        tied=tied,
        embedding_norm=not tied,
        qk_norm=qk_norm,
    )
    package = make_package(config)
    if exporter.refuses(package):
        assert position != "rope"  # Qwen3 and Llama have words for all the rest
        return
    exporter.export(package, tmp_path, ExportConfig())
    ours, theirs = torch_decoder(package.model), model.decode(tmp_path / model.file, 1)
    distance = parity(ours, theirs, ids, cached_steps=8)
    eot, tokens = package.tokenizer.eot_id, package.tokenizer.encode(TEXT)
    text = continuation(ours, theirs, [[eot], [eot, *tokens[:5]], [eot, *tokens[3:20]]], 28, pad=7)
    # The same fp32 sums in another order; logits are near 1.
    assert max(distance.prompt, distance.cached, text.alone, text.whole) < 1e-5
    assert text.equal == 1
