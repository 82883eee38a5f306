"""A tiny package with random weights and documents of two sources, made once."""

import hashlib
from pathlib import Path

import pytest
import torch

from minigpt.data.document import Document, in_order
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import Package, load_package, save_package
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

LINES = (
    "Now is the winter of our discontent\n",
    "Made glorious summer by this sun of York;\n",
    "And all the clouds that lour'd upon our house\n",
    "In the deep bosom of the ocean buried. – ☼\n",
)


def document(source: str, work: str, split: str, text: str) -> Document:
    """A document with nothing special about it."""
    return Document(
        doc_id=f"{source}/{work}",
        text=text,
        source=source,
        role="pretrain" if source == "plays" else "finetune",
        work=work,
        lang="en",
        licence="public domain",
        split=split,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        origin="0:x",
    )


@pytest.fixture(scope="session")
def corpus() -> list[Document]:
    """Two sources with all three splits."""
    made = []
    for s, source in enumerate(("plays", "speeches")):
        for w, split in enumerate(("train", "train", "train", "val", "test", "test")):
            text = "".join(
                LINES[(i * (w + 2) + s) % 4].swapcase() if i % 5 == s else LINES[(i + w) % 4]
                for i in range(12 + 5 * w)
            )
            made.append(document(source, f"work{w}", split, text))
    return in_order(made)


@pytest.fixture(scope="session")
def documents(corpus: list[Document]) -> list[Document]:
    """The test split of both sources, and one short document."""
    return [*(d for d in corpus if d.split == "test"), document("speeches", "z", "test", LINES[0])]


@pytest.fixture(scope="session")
def tiny_package(corpus: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Package:
    """One layer, 16 wide, a context of 64 tokens."""
    folder = tmp_path_factory.mktemp("package")
    tokenizer = Tokenizer.train((d.text for d in corpus), TokenizerConfig(vocab_size=320))
    tokenizer.save(folder / "tokenizer")
    return tiny_model(folder / "base", folder / "tokenizer", seed=0)


@pytest.fixture(scope="session")
def tuned_package(tiny_package: Package) -> Package:
    """Another model with the same tokenizer."""
    folder = tiny_package.path.parent
    return tiny_model(folder / "finetuned", folder / "tokenizer", seed=1)


def tiny_model(out: Path, tokenizer: Path, seed: int) -> Package:
    """Write a random model as a package and load it."""
    config = ModelConfig(n_layer=1, n_head=2, n_kv_head=1, n_embd=16, mlp_dim=32, context_length=64)
    model = build_model(config, Tokenizer.load(tokenizer).vocab_size, seed)
    with_some_opinion(model.head.weight, seed)
    save_package(out, model, tokenizer)
    return load_package(out)


def with_some_opinion(head: torch.Tensor, seed: int) -> None:
    """A fresh model's head is zero: every token would cost the same."""
    torch.nn.init.normal_(head, std=0.3, generator=torch.Generator().manual_seed(seed))
