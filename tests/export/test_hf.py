"""Hugging Face folders."""

import json

import pytest
import torch
import transformers

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.formats.hf import ENTRY, WEIGHTS
from minigpt.export.verify import parity, same_ids, torch_decoder
from minigpt.model.config import GeluMlp, LayerNorm, RmsNorm
from minigpt.model.positions.rope import RopePosition

from .conftest import SIZES, TEXT


@pytest.fixture(scope="session")
def folder(package, tmp_path_factory):
    out = tmp_path_factory.mktemp("hf")
    ENTRY.export(package, out, ExportConfig())
    return out


@pytest.mark.parametrize(
    "config",
    [
        SIZES,
        SIZES.replace(tied=True, embedding_norm=False),
        SIZES.replace(head_dim=32, n_kv_head=1, position=RopePosition(theta=500.0)),
    ],
    ids=["default", "tied", "wide heads, another theta"],
)
def test_transformers_gives_our_logits(make_package, config, ids, tmp_path):
    package = make_package(config)
    ENTRY.export(package, tmp_path, ExportConfig())
    distance = parity(
        torch_decoder(package.model),
        ENTRY.models[0].decode(tmp_path / WEIGHTS, 1),
        ids,
        cached_steps=8,
    )
    # The same fp32 sums in another order; logits are near 1.
    assert max(distance.prompt, distance.cached) < 1e-5


def test_the_model_class_is_found_and_takes_every_weight(folder):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert type(model).__name__ == "Qwen3ForCausalLM"
    assert not any(report.values())


def test_the_tokenizer_gives_our_ids_and_text_back(folder, package):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = TEXT + "\t naïve 日本 \U0001f600 1234\r\n  end"
    assert tokenizer(text)["input_ids"] == package.tokenizer.encode(text)
    assert tokenizer.decode(package.tokenizer.encode(text)) == text
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == package.tokenizer.eot_id
    assert tokenizer.pad_token_id == package.tokenizer.specials["<|pad|>"]


def test_generate_goes_on_as_greedy_search_over_our_logits_does(folder, package, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    written = model.generate(ids[:1, :8], max_new_tokens=6, do_sample=False)[0, 8:]
    ours = ids[:1, :8]
    for _ in range(len(written)):
        ours = torch.cat((ours, package.model(ours)[:, -1:].argmax(-1)), dim=1)
    assert written.tolist() == ours[0, 8:].tolist()


def test_a_special_tokens_name_in_a_text_is_text_in_the_comparison(folder, package):
    assert same_ids(folder, package.tokenizer, ["a <|endoftext|> b"])


def test_another_tokenizer_is_noticed(folder, package, tmp_path):
    value = json.loads((folder / "tokenizer.json").read_text())
    value["model"]["merges"] = value["model"]["merges"][:-1]
    (tmp_path / "tokenizer.json").write_text(json.dumps(value))
    last = max(package.tokenizer.ranks, key=package.tokenizer.ranks.__getitem__).decode()
    assert not same_ids(tmp_path, package.tokenizer, [last])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position": {"kind": "alibi"}}, "position: alibi"),
        ({"mlp": GeluMlp()}, "mlp: gelu"),
        ({"norm": LayerNorm()}, "norm: layernorm"),
        ({"norm": RmsNorm(eps=1e-5)}, "norm: eps 1e-05"),
    ],
)
def test_what_qwen3_has_no_word_for_is_refused(make_package, change, message, tmp_path):
    with pytest.raises(ExportError, match=f"hf: Qwen3ForCausalLM has no {message}"):
        ENTRY.export(make_package(SIZES.replace(**change)), tmp_path, ExportConfig())
    assert not list(tmp_path.iterdir())
