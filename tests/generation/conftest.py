"""One tiny model whose weights are all in use, as a package and as an ONNX export."""

import pytest
import torch

from minigpt.export.config import ExportConfig
from minigpt.export.formats.onnx import ENTRY
from minigpt.generation.model_files import FILES
from minigpt.generation.onnx_engine import OnnxEngine
from minigpt.generation.torch_engine import TorchEngine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

SIZES = ModelConfig(n_layer=2, n_embd=64, n_head=4, n_kv_head=2, mlp_dim=128, context_length=64)
TEXT = "The quick brown fox jumps over the lazy dog, and the dog’s dream goes on.\n"


def in_use(model):
    """The model with weights that are far from those of a new one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return model


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation")
    Tokenizer.train([TEXT * 3], TokenizerConfig(vocab_size=300)).save(folder / "tokenizer")
    save_package(folder / "package", in_use(build_model(SIZES, 300, 0)), folder / "tokenizer")
    return load_package(folder / "package")


@pytest.fixture(scope="session")
def tokenizer(package):
    return package.tokenizer


@pytest.fixture(scope="session")
def export(package, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    ENTRY.export(package, folder, ExportConfig())
    return folder


@pytest.fixture(scope="session")
def make_engine(package, request):
    """A function from a name (generation.models.ENGINES) and a number of slots to an engine."""

    def make(name, slots=1):
        if name == "torch":
            return TorchEngine(package.model, slots)
        return OnnxEngine(request.getfixturevalue("export"), FILES[name], slots=slots)

    return make


@pytest.fixture
def engine(make_engine):
    """Torch with 16 slots."""
    return make_engine("torch", 16)
