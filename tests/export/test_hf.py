"""Hugging Face folders: nothing is set by hand where `transformers` loads them."""

import json
import subprocess
import sys

import pytest
import torch
import transformers

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.formats.hf import ENTRY, WEIGHTS
from minigpt.export.verify import parity, same_ids, torch_decoder
from minigpt.generation.config import SamplingConfig
from minigpt.generation.stream import generate
from minigpt.generation.torch_engine import TorchEngine
from minigpt.model.config import GeluMlp, LayerNorm, RmsNorm

from .conftest import GPT2, SHAPES, SIZES, TEXT

CLASSES = {"qwen3": "Qwen3ForCausalLM", "llama": "LlamaForCausalLM", "gpt2": "GPT2LMHeadModel"}
PROMPTS = ["The quick", "over the lazy dog, and", "x", "  the dog’s dream\n"]
NEW = 16


@pytest.fixture(scope="session")
def make_folder(make_package, tmp_path_factory):
    """A function from model config to package and exported folder."""
    made = {}

    def make(config):
        key = config.model_dump_json()
        if key not in made:
            package, out = make_package(config), tmp_path_factory.mktemp("hf")
            ENTRY.export(package, out, ExportConfig())
            made[key] = package, out
        return made[key]

    return make


@pytest.fixture(scope="session")
def folder(make_folder):
    return make_folder(SIZES)[1]


@pytest.fixture(scope="session")
def package(make_folder):
    return make_folder(SIZES)[0]


def greedy(package, prompt):
    """What `minigpt generate` writes at temperature 0."""
    sampling = SamplingConfig(temperature=0)
    engine = TorchEngine(package.model)
    return "".join(generate(engine, package.tokenizer, prompt, sampling, NEW, seed=0))


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_gives_our_logits(make_folder, shape, ids):
    package, folder = make_folder(SHAPES[shape])
    decoder = ENTRY.models[0].decode(folder / WEIGHTS, 1)
    distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=8)
    # The same fp32 sums in another order; logits are near 1.
    assert max(distance.prompt, distance.cached) < 1e-5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_model_class_is_found_and_takes_every_weight(make_folder, shape):
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        make_folder(SHAPES[shape])[1], output_loading_info=True
    )
    assert type(model).__name__ == CLASSES[shape.split()[0]]
    assert not any(report.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("together", [False, True], ids=["one by one", "a padded batch"])
def test_generate_writes_our_greedy_text(make_folder, shape, together):
    package, folder = make_folder(SHAPES[shape])
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    for prompts in [PROMPTS] if together else [[prompt] for prompt in PROMPTS]:
        inputs = tokenizer(prompts, return_tensors="pt", padding=together)
        written = model.generate(**inputs, max_new_tokens=NEW)[:, inputs["input_ids"].size(1) :]
        texts = tokenizer.batch_decode(written, skip_special_tokens=True)
        assert texts == [greedy(package, prompt) for prompt in prompts]


@pytest.mark.parametrize("together", [1, 4])
def test_a_pipeline_writes_our_greedy_text(folder, package, together):
    pipeline = transformers.pipeline("text-generation", model=str(folder), device="cpu")
    answers = pipeline(PROMPTS, batch_size=together, max_new_tokens=NEW, return_full_text=False)
    assert [answer[0]["generated_text"] for answer in answers] == [
        greedy(package, prompt) for prompt in PROMPTS
    ]


ALONE = """
import json, sys
sys.modules["minigpt"] = None
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, new, *prompts = sys.argv[1:]
tokenizer, model = (kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForCausalLM))
inputs = tokenizer(prompts, return_tensors="pt", padding=True)
written = model.generate(**inputs, max_new_tokens=int(new))[:, inputs["input_ids"].size(1) :]
print(json.dumps(tokenizer.batch_decode(written, skip_special_tokens=True)))
"""


def test_a_fresh_process_without_minigpt_writes_our_greedy_text(folder, package, tmp_path):
    command = [sys.executable, "-c", ALONE, str(folder), str(NEW), *PROMPTS]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert json.loads(done.stdout) == [greedy(package, prompt) for prompt in PROMPTS]


def test_a_padded_batch_has_the_logits_of_its_rows(make_folder):
    package, folder = make_folder(GPT2)  # its positions are counted, so padding must not count
    decoder, ours = ENTRY.models[0].decode(folder / WEIGHTS, 1), torch_decoder(package.model)
    ids, mask = torch.arange(20).view(2, 10), torch.ones(2, 10, dtype=torch.long)
    mask[0, :4] = 0
    logits, past = decoder(ids[:, :9], mask=mask[:, :9])
    step, _ = decoder(ids[:, 9:], past, mask)
    expected, _ = ours(ids[:1, 4:])
    together = torch.cat((logits, step), 1)[:1, 4:]
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=0)


def test_the_tokenizer_gives_our_ids_and_text_back(folder, package):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    text = TEXT + "\t naïve 日本 \U0001f600 1234\r\n  end"
    ids, eot = package.tokenizer.encode(text), package.tokenizer.eot_id
    assert tokenizer(text)["input_ids"] == [eot, *ids]
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer(text, "x")["input_ids"] == [eot, *ids, eot, *package.tokenizer.encode("x")]
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
    assert tokenizer.eos_token_id == tokenizer.bos_token_id == eot
    assert tokenizer.pad_token_id == package.tokenizer.specials["<|pad|>"]
    assert tokenizer.model_max_length == package.config.context_length


def test_a_reserved_token_is_never_written(make_package, tmp_path):
    package = make_package(SIZES)
    pad = package.tokenizer.specials["<|pad|>"]
    with torch.no_grad():
        package.model.head.weight[pad] *= 100
    ENTRY.export(package, tmp_path, ExportConfig())
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    written = model.generate(**tokenizer(PROMPTS[1], return_tensors="pt"), max_new_tokens=8)
    assert pad not in written[0].tolist()
    assert package.model(written[:, :-1])[0].argmax(-1).eq(pad).any()


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
        ({"position": {"kind": "alibi"}}, "Qwen3ForCausalLM has no position: alibi"),
        ({"mlp": GeluMlp()}, "Qwen3ForCausalLM has no mlp: gelu"),
        ({"norm": LayerNorm()}, "Qwen3ForCausalLM has no norm: layernorm"),
        ({"norm": RmsNorm(eps=1e-5)}, "Qwen3ForCausalLM has no norm: eps 1e-05"),
        ({"bias": True}, "Qwen3ForCausalLM has no bias: true; LlamaForCausalLM has no qk_norm"),
        ({"qk_norm": False, "mlp": GeluMlp()}, "LlamaForCausalLM has no mlp: gelu; Qwen3"),
    ],
)
def test_what_no_class_has_a_word_for_is_refused(make_package, change, message, tmp_path):
    with pytest.raises(ExportError, match=f"hf: {message}"):
        ENTRY.export(make_package(SIZES.replace(**change)), tmp_path, ExportConfig())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_kv_head": 2}, r"GPT2LMHeadModel has no n_kv_head: 2 \(n_head is 4\)"),
        ({"head_dim": 32}, r"GPT2LMHeadModel has no head_dim: 32 \(n_embd is 64\)"),
        ({"qk_norm": True}, "GPT2LMHeadModel has no qk_norm: true"),
    ],
)
def test_gpt2_shares_no_heads(make_package, change, message, tmp_path):
    with pytest.raises(ExportError, match=f"hf: {message}"):
        ENTRY.export(make_package(GPT2.replace(**change)), tmp_path, ExportConfig())
