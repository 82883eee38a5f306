"""A tiny package in the Qwen3 dialect whose weights are all in use."""

from importlib.util import find_spec

import pytest
import torch

from minigpt.model.build import build_model
from minigpt.model.config import GeluMlp, LayerNorm, ModelConfig
from minigpt.model.positions.learned import LearnedPosition
from minigpt.model.positions.rope import RopePosition
from minigpt.package import load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

SIZES = ModelConfig(n_layer=2, n_embd=64, n_head=4, n_kv_head=2, mlp_dim=128, context_length=48)
LLAMA = SIZES.replace(qk_norm=False)
GPT2 = LLAMA.replace(
    n_kv_head=4, norm=LayerNorm(), position=LearnedPosition(), mlp=GeluMlp(), bias=True
)
TIED = {"tied": True, "embedding_norm": False}
SHAPES = {
    "qwen3": SIZES,
    "qwen3 tied": SIZES.replace(**TIED),
    "qwen3 wide heads": SIZES.replace(head_dim=32, n_kv_head=1, position=RopePosition(theta=500.0)),
    "llama": LLAMA,
    "llama tied, biases": LLAMA.replace(bias=True, **TIED),
    "llama wide heads": LLAMA.replace(head_dim=32, n_kv_head=1, position=RopePosition(theta=500.0)),
    "gpt2": GPT2,
    "gpt2 tied": GPT2.replace(**TIED),
    "gpt2 no biases": GPT2.replace(bias=False),
}
"""What has a model class of its own in other programs: the class is the first word."""
EXTRAS = ("tensorflow",)
"""Formats whose program no other part of minigpt needs."""
TEXT = "The quick brown fox jumps over the lazy dog, and the dog’s dream goes on.\n"


@pytest.fixture(autouse=True)
def program(request):
    """Skip where the format's program is an extra not installed; `make prove` installs it."""
    parametrized = getattr(request.node, "callspec", None)
    names = map(str, parametrized.params.values()) if parametrized else ()
    for name in names:
        if name in EXTRAS and find_spec(name) is None:
            pytest.skip(f"needs minigpt[{name}]: test_extra_{name}.py runs it there")


@pytest.fixture(scope="session")
def make_package(tmp_path_factory):
    """A function from model config, and the folder of another tokenizer of 300, to package."""
    usual = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train([TEXT * 3], TokenizerConfig(vocab_size=300)).save(usual)

    def make(config, tokenizer=usual):
        model = build_model(config, vocab_size=300, seed=0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in model.parameters():
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
        out = tmp_path_factory.mktemp("package") / "package"
        save_package(out, model, tokenizer)
        return load_package(out)

    return make


@pytest.fixture(scope="session")
def package(make_package):
    return make_package(SIZES)


@pytest.fixture(scope="session")
def plain(make_package):
    """A package that never writes a reserved token: not every program keeps them back."""
    package = make_package(SIZES.replace(n_layer=1))
    with torch.no_grad():
        package.model.head.weight[list(package.tokenizer.specials.values())] = 0
    return package


@pytest.fixture(scope="session")
def ids(package):
    """(2, 40) ids of text, two rows that differ."""
    tokens = package.tokenizer.encode(TEXT * 4)
    return torch.tensor([tokens[:40], tokens[5:45]])
