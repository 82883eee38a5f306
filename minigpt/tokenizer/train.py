"""The stage train_tokenizer."""

from pathlib import Path
from typing import Any

import numpy as np

from minigpt.data.document import Document, read_documents
from minigpt.errors import DataError
from minigpt.roles import PRETRAIN, ROLES
from minigpt.run import Run
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TrainTokenizerParams
from minigpt.tokenizer.stats import count_tokens, usage

HEADLINES = ("bytes_per_token.*",)


def train_tokenizer(
    documents: Path, out: Path, params: TrainTokenizerParams, run: Run
) -> dict[str, Any]:
    """Train on the pretraining role's train split only, write `out`, measure on held-out text.

    Returns:
        vocab_size; on the training text tokens, bytes, unused_share, fragment_share and
        renyi_efficiency; on the validation text bytes_per_token by source.

    Raises:
        DataError: there is no training text, or too little for the vocabulary.
    """
    texts = [d.text for d in read_documents(documents, role=PRETRAIN.name, split="train")]
    if not texts:
        raise DataError(
            f"{documents}: no document has role {PRETRAIN.name} and split train. "
            "Look at `sources` in params.yaml, then run: dvc repro train_tokenizer"
        )
    run.progress(f"{len(texts):,} documents")
    tokenizer = Tokenizer.train(texts, params.tokenizer)
    tokenizer.save(out)
    encoded = tokenizer.encode_batch(texts, run.machine.threads)
    counts = count_tokens(encoded, tokenizer.vocab_size)
    measured = {
        role: lengths(read_documents(documents, role=role, split="val"), tokenizer, run)
        for role in ROLES
    }
    own = np.sum(list(measured[PRETRAIN.name].values()), axis=0)
    said = f"{tokenizer.vocab_size:,} tokens"
    run.say(f"{said} · {own[0] / own[1]:.2f} bytes a token on held-out text" if own.any() else said)
    return {
        "vocab_size": tokenizer.vocab_size,
        "train": {
            "tokens": int(counts.sum()),
            "bytes": sum(len(text.encode()) for text in texts),
            **usage(counts, tokenizer),
        },
        "bytes_per_token": {
            source: n_bytes / n_tokens
            for by_source in measured.values()
            for source, (n_bytes, n_tokens) in by_source.items()
        },
    }


def lengths(
    documents: list[Document], tokenizer: Tokenizer, run: Run
) -> dict[str, tuple[int, int]]:
    """Source → bytes and tokens of its documents."""
    sizes: dict[str, tuple[int, int]] = {}
    encoded = tokenizer.encode_batch([d.text for d in documents], run.machine.threads)
    for document, ids in zip(documents, encoded, strict=True):
        n_bytes, n_tokens = sizes.get(document.source, (0, 0))
        sizes[document.source] = (n_bytes + document.n_bytes, n_tokens + len(ids))
    return sizes
