"""A tiny package in the Qwen3 dialect whose weights are all in use."""

import pytest
import torch

from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

SIZES = ModelConfig(n_layer=2, n_embd=64, n_head=4, n_kv_head=2, mlp_dim=128, context_length=48)
TEXT = "The quick brown fox jumps over the lazy dog, and the dog’s dream goes on.\n"


@pytest.fixture(scope="session")
def make_package(tmp_path_factory):
    """A function from model config to package."""
    tokenizer = tmp_path_factory.mktemp("tokenizer")
    Tokenizer.train([TEXT * 3], TokenizerConfig(vocab_size=300)).save(tokenizer)

    def make(config):
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
def ids(package):
    """(2, 40) ids of text, two rows that differ."""
    tokens = package.tokenizer.encode(TEXT * 4)
    return torch.tensor([tokens[:40], tokens[5:45]])
