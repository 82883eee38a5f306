import random
from types import SimpleNamespace

import pytest

from minigpt.data.document import DOCUMENTS, Document, write_documents
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig

SYLLABLES = ["ba", "ché", "do", "fi", "gu", "la", "mo", "ni", "诗", "да"]


def sample_text(seed: int, words: int = 600) -> str:
    """Invented words in lines: enough repetition for merges, letters of 1, 2 and 3 bytes."""
    r = random.Random(seed)
    known = ["".join(r.choices(SYLLABLES, k=r.randint(1, 4))) for _ in range(80)]
    return "".join(
        r.choice(known) + r.choice([" ", " ", " ", ", ", ".\n", " 12 "]) for _ in range(words)
    )


@pytest.fixture(scope="session")
def texts():
    return [sample_text(seed) for seed in range(4)]


@pytest.fixture(scope="session")
def tokenizer(texts):
    return Tokenizer.train(texts, TokenizerConfig(vocab_size=512))


@pytest.fixture
def run(tmp_path):
    """A stage's run that remembers what was said."""
    said: list[str] = []
    return SimpleNamespace(
        machine=SimpleNamespace(threads=2),
        workdir=tmp_path / "work",
        said=said,
        say=said.append,
        progress=lambda text: None,
    )


@pytest.fixture
def documents(tmp_path):
    """Folder of documents: two roles, three splits, two works each."""
    rows = [
        Document(
            doc_id=f"{source}/{split}-{i}",
            text=sample_text(100 * s + 10 * p + i, words=200),
            source=source,
            role=role,
            work=f"{split}-{i}",
            lang="en",
            licence="public domain",
            split=split,
            sha256="",
            origin="",
        )
        for s, (source, role) in enumerate([("plays", "pretrain"), ("speeches", "finetune")])
        for p, split in enumerate(["train", "val", "test"])
        for i in range(2)
    ]
    write_documents(tmp_path / "documents" / DOCUMENTS, rows)
    return tmp_path / "documents"
