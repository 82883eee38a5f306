"""A tiny fine-tuned package and documents of two sources, as the stages before would leave them."""

import hashlib
from types import SimpleNamespace

import pytest
import torch

from minigpt.data.document import DOCUMENTS, Document, write_documents
from minigpt.export.config import ExportConfig, ExportParams
from minigpt.machine import Machine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.package import save_package
from minigpt.release.config import QuantizeConfig, QuantizeParams
from minigpt.release.export import export
from minigpt.release.quantize import quantize
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

VERSES = "The quick brown fox jumps over the lazy dog, and the dog’s dream goes on.\n" * 8


def document(source: str, role: str, number: int, text: str, split: str = "test") -> Document:
    return Document(
        doc_id=f"{source}/{number}",
        text=text,
        source=source,
        role=role,
        work=f"work {number}",
        lang="en",
        licence="public domain",
        split=split,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        origin="a test",
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A folder with models/tokenizer, models/finetuned and data/documents."""
    root = tmp_path_factory.mktemp("release")
    tokenizer = Tokenizer.train([VERSES], TokenizerConfig(vocab_size=300))
    tokenizer.save(root / "models" / "tokenizer")
    sizes = ModelConfig(n_layer=1, n_embd=64, n_head=4, n_kv_head=2, mlp_dim=128, context_length=48)
    model = build_model(sizes, vocab_size=300, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    save_package(root / "models" / "finetuned", model, root / "models" / "tokenizer", step=7)
    documents = [
        document("plays", "pretrain", 0, VERSES),
        document("speeches", "finetune", 1, VERSES[9:]),
        document("speeches", "finetune", 2, VERSES[20:]),
        document("plays", "pretrain", 3, VERSES[30:], "train"),
        document("speeches", "finetune", 4, VERSES[40:], "train"),
        document("speeches", "finetune", 5, VERSES[50:], "val"),
    ]
    write_documents(root / "data" / "documents" / DOCUMENTS, documents)
    return root


@pytest.fixture(scope="session")
def run():
    """What a stage's function asks of its run, with what it said."""
    said: list[str] = []
    return SimpleNamespace(
        machine=Machine(threads=1), say=said.append, progress=said.append, said=said
    )


@pytest.fixture(scope="session")
def quantized(tiny, run):
    """What the stage quantize returned; models/int8 and models/int4 are there."""
    models = tiny / "models"
    config = QuantizeConfig(max_bytes=400, logit_tokens=40, calibration_tokens=480)
    params = QuantizeParams(quantize=config)
    inputs = models / "finetuned", tiny / "data/documents"
    return quantize(*inputs, models / "int8", models / "int4", params, run)


@pytest.fixture(scope="session")
def exported(tiny, run):
    """What the stage export returned; exports is there."""
    params = ExportParams(export=ExportConfig(max_bytes=400, cached_steps=8))
    inputs = tiny / "models/finetuned", tiny / "data/documents"
    return export(*inputs, tiny / "exports", params, run)
