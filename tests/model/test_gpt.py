"""The plain model: cached steps, other people's implementation, counts, initial weights."""

import json
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from minigpt.export.formats.hf import QWEN3
from minigpt.export.names import translate
from minigpt.export.verify import torch_decoder
from minigpt.model.build import build_model
from minigpt.model.cache import GrowingCache
from minigpt.model.config import POSITIONS, GeluMlp, LayerNorm, ModelConfig
from minigpt.model.count import flops_per_token, parameters
from minigpt.model.position_config import Sizes
from minigpt.model.positions.rope import RopePosition

TINY = ModelConfig(n_layer=2, n_embd=32, n_head=4, n_kv_head=2, mlp_dim=48, context_length=32)
VOCAB = 50
KINDS = {
    "qwen3": TINY,
    "tied": TINY.replace(tied=True, embedding_norm=False),
    "gpt2": TINY.replace(
        norm=LayerNorm(), position=POSITIONS["learned"](), mlp=GeluMlp(), n_kv_head=4
    ),
    "llama": TINY.replace(qk_norm=False),
    "biases": TINY.replace(bias=True),
    "gpt2, all of it": TINY.replace(
        norm=LayerNorm(),
        position=POSITIONS["learned"](),
        mlp=GeluMlp(),
        n_kv_head=4,
        qk_norm=False,
        bias=True,
    ),
    **{f"position {kind}": TINY.replace(position=entry()) for kind, entry in POSITIONS.items()},
}


def trained(config, seed=0):
    """A model whose every weight says something, as after training."""
    model = build_model(config, VOCAB, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.2 * torch.randn(weight.shape, generator=generator)
    return model


def some_ids(*shape, seed=0):
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_cached_steps_equal_the_full_pass(kind):
    model, ids = trained(KINDS[kind]), some_ids(2, 20)
    cache = model.new_cache(batch=2)
    with torch.inference_mode():
        parts = ids.split([7, 1, 1, 6, 1, 4], dim=1)
        steps = torch.cat([model(part, cache) for part in parts], dim=1)
        # The same fp32 sums in another order.
        torch.testing.assert_close(steps, model(ids), atol=1e-5, rtol=1e-5)


def test_a_growing_cache_equals_the_full_pass_and_leaves_its_inputs_alone():
    model, ids = trained(TINY), some_ids(2, 9)
    with torch.inference_mode():
        empty = torch.zeros(2, TINY.n_kv_head, 0, TINY.head_width)
        first = GrowingCache([(empty, empty)] * TINY.n_layer)
        start = model(ids[:, :4], first)
        past = [(layer.k, layer.v) for layer in first.layers]
        end = model(ids[:, 4:], GrowingCache(past))
        torch.testing.assert_close(torch.cat((start, end), 1), model(ids), atol=1e-5, rtol=1e-5)
    assert all(k.size(2) == 4 for k, _ in past)


@pytest.mark.parametrize("kind", KINDS)
def test_no_position_sees_what_comes_after_it(kind):
    model, ids = trained(KINDS[kind]), some_ids(1, 12)
    other = torch.cat((ids[:, :6], (ids[:, 6:] + 1) % VOCAB), dim=1)
    with torch.inference_mode():
        before, after = model(ids), model(other)
    torch.testing.assert_close(before[:, :6], after[:, :6], atol=1e-6, rtol=0)
    assert not torch.equal(before[:, 6:], after[:, 6:])


def test_logits_are_those_of_transformers_qwen3(tmp_path):
    transformers = pytest.importorskip("transformers")
    model, ids = trained(TINY), some_ids(2, 30)
    weights = {name: tensor.clone() for name, tensor in model.fold().state_dict().items()}
    names = translate(weights, QWEN3, "hf")
    save_file(
        {names[n]: t for n, t in weights.items()}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    config = transformers.Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        rms_norm_eps=1e-6,
        rope_theta=10_000.0,
        tie_word_embeddings=False,
    )
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    theirs, loading = transformers.Qwen3ForCausalLM.from_pretrained(
        tmp_path, output_loading_info=True, dtype=torch.float32
    )
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    with torch.inference_mode():
        # The same fp32 sums in another order.
        torch.testing.assert_close(model(ids), theirs(ids).logits, atol=2e-5, rtol=1e-5)


def test_folding_the_embedding_keeps_the_function():
    model, ids = trained(TINY), some_ids(1, 8)
    before = model(ids)
    assert not model.fold().config.embedding_norm
    torch.testing.assert_close(model(ids), before, atol=1e-5, rtol=1e-5)


def test_loss_sum_is_cross_entropy_over_counted_targets():
    model, ids, targets = trained(TINY), some_ids(2, 6), some_ids(2, 6, seed=1)
    targets[0, :3] = -100
    logits = model(ids).double()
    expected = sum(
        F.cross_entropy(logits[b, t], targets[b, t])
        for b in range(2)
        for t in range(6)
        if targets[b, t] >= 0
    )
    assert model.loss_sum(ids, targets).item() == pytest.approx(expected.item(), rel=1e-5)


def test_more_positions_than_the_context_are_refused():
    model = build_model(TINY, VOCAB, seed=0)
    cache = model.new_cache()
    model(some_ids(1, 32), cache)
    with pytest.raises(ValueError, match="33 positions, but context_length is 32"):
        model(some_ids(1, 1), cache)


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_without_building(kind):
    model = build_model(KINDS[kind], VOCAB, seed=0)
    assert parameters(KINDS[kind], VOCAB) == sum(p.numel() for p in model.parameters())


def test_flops_are_six_a_weight_plus_attention():
    matrices = 2_361_536 - 2048 * 192 - 9 * 192 - 8 * 64  # all but the embedding and the norms
    expected = 6 * matrices + 12 * 4 * 192 * 512
    assert flops_per_token(ModelConfig(), 2048, 512) == expected


def test_the_seed_decides_the_first_weights_and_nothing_else_changes():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, same, other = (build_model(TINY, VOCAB, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    assert all(map(torch.equal, one.parameters(), same.parameters()))
    assert not torch.equal(one.embed.weight, other.embed.weight)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_model_guesses_uniformly(kind):
    logits = build_model(KINDS[kind], VOCAB, seed=0)(some_ids(1, 5))
    assert logits.any() == KINDS[kind].tied  # a table that is both cannot start at zero


def test_biases_start_at_zero_and_the_head_has_none():
    state = build_model(KINDS["gpt2, all of it"], VOCAB, seed=0).state_dict()
    biases = [name for name in state if name.endswith("bias")]
    # Attention has 4, an MLP 2, and each of 2 blocks 2 norms; one norm is the last.
    assert len(biases) == 2 * (4 + 2 + 2) + 1
    assert not any(state[name].any() for name in biases)
    assert "head.bias" not in state


def test_without_head_norms_a_model_has_no_weights_for_them():
    names = build_model(KINDS["llama"], VOCAB, seed=0).state_dict().keys()
    assert not any("q_norm" in name or "k_norm" in name for name in names)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_of_a_batch_is_as_if_it_were_alone(kind):
    model, ids = trained(KINDS[kind]), some_ids(3, 12)
    with torch.inference_mode():
        alone = torch.cat([model(ids[i : i + 1]) for i in range(3)])
        # The same fp32 sums in another order.
        torch.testing.assert_close(model(ids), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_row_is_as_if_it_were_alone(kind, side):
    model, lengths = trained(KINDS[kind]), (3, 7, 5)
    rows, steps = [some_ids(1, n, seed=n) for n in lengths], some_ids(3, 4, seed=1)
    pad = {"left": lambda n: (7 - n, 0), "right": lambda n: (0, 7 - n)}[side]
    ids = torch.cat([F.pad(row, pad(row.size(1)), value=9) for row in rows])
    mask = torch.cat([F.pad(torch.ones_like(row), pad(row.size(1))) for row in rows])
    decode = torch_decoder(model)
    with torch.inference_mode():
        logits, past = decode(ids, mask=mask)
        written = [logits[i][mask[i].bool()] for i in range(3)]
        for part in steps.split([1, 2, 1], dim=1):
            mask = torch.cat((mask, torch.ones_like(part)), 1)
            logits, past = decode(part, past, mask)
            written = [
                torch.cat((before, new)) for before, new in zip(written, logits, strict=True)
            ]
        for row, step, ours in zip(rows, steps, written, strict=True):
            alone = model(torch.cat((row, step[None]), 1))[0]
            # The same fp32 sums in another order.
            torch.testing.assert_close(ours, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", POSITIONS)
def test_constants_of_positions_stay_fp32_through_bf16_and_out_of_packages(kind):
    model = build_model(TINY.replace(position=POSITIONS[kind]()), VOCAB, seed=0)
    before = {name: tensor.clone() for name, tensor in model.position.named_buffers()}
    model.bfloat16().float()
    assert all(torch.equal(tensor, before[n]) for n, tensor in model.position.named_buffers())
    assert not any(f"position.{name}" in model.state_dict() for name in before)


@pytest.mark.parametrize("kind", POSITIONS)
def test_a_kind_of_position_needs_no_torch_to_be_read(kind):
    code = f"import sys; from minigpt.model.config import POSITIONS; POSITIONS[{kind!r}]()"
    done = subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"])
    assert done.returncode == 0


def test_cosines_and_sines_are_rounded_once():
    """As no two threads of torch make them: their first ones had other bits in 1 process of 60."""
    sizes = Sizes(n_embd=64, n_head=1, head_width=64, context_length=512)
    wavelengths = 10_000.0 ** (torch.arange(0, 64, 2).float() / 64)
    angles = (torch.arange(512).float()[:, None] * (1 / wavelengths)).repeat(1, 2)
    for name, table in RopePosition().constants(sizes).items():
        exact = [getattr(math, name)(angle) for angle in angles.flatten().tolist()]
        assert table.flatten().tolist() == torch.tensor(exact).tolist()
