"""The text of a model in another form: training text to fit it to, test text to judge it on."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import count, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minigpt.data.document import Document, read_documents
from minigpt.errors import DataError
from minigpt.roles import main_role
from minigpt.tokenizer.bpe import Tokenizer

if TYPE_CHECKING:
    from torch import Tensor

Texts = Mapping[str, list[Document]]
"""Documents by source."""


def held_out_texts(documents: Path, max_bytes: int) -> Texts:
    """The beginnings of all test documents: `max_bytes` of each source, shared out evenly.

    Raises:
        DataError: there is no test text.
    """
    test_documents = read_documents(documents, split="test")
    if not test_documents:
        raise DataError(f"{documents}: no document has split test. Run: dvc repro validate")
    return {
        source: shortened(list(group), max_bytes)
        for source, group in groupby(test_documents, key=lambda document: document.source)
    }


LEAST_BYTES, LEAST_DOCUMENTS = 500, 20
"""A shorter beginning says little of a document; fewer documents say little of a source."""


def shortened(documents: list[Document], max_bytes: int) -> list[Document]:
    """Each document cut to its share of `max_bytes`, between characters.

    Where the shares would be too small to tell anything, some documents have larger ones until the
    bytes are used up, and the others none. Which ones, their digests say.
    """
    least = min(LEAST_BYTES, max_bytes // LEAST_DOCUMENTS)
    share = max(1, max_bytes // len(documents))
    if share >= least:
        return [beginning(document, share) for document in documents]
    chosen: dict[str, Document] = {}
    left = max_bytes
    for document in sorted(documents, key=lambda document: document.sha256):
        chosen[document.doc_id] = beginning(document, min(least, left))
        left -= chosen[document.doc_id].n_bytes
        if left <= 0:
            break
    return [chosen[document.doc_id] for document in documents if document.doc_id in chosen]


def beginning(document: Document, n_bytes: int) -> Document:
    """A document without what lies behind its first bytes."""
    return replace(document, text=document.text.encode()[:n_bytes].decode(errors="ignore"))


def first_ids(tokenizer: Tokenizer, texts: Texts, wanted: int) -> "Tensor":
    """(1, T) ids of the main role's text (else of all text), T at most `wanted`.

    It starts as training text does, with <|endoftext|>.
    """
    import torch  # whoever only shortens texts does without

    everything = [document for group in texts.values() for document in group]
    main = main_role(document.role for document in everything)
    chosen = [document for document in everything if document.role == main.name] or everything
    ids: list[int] = []
    for document in chosen:
        ids += [tokenizer.eot_id, *tokenizer.encode(document.text)]
        if len(ids) >= wanted:
            break
    return torch.tensor([ids[:wanted]])


def training_windows(documents: Path, tokenizer: Tokenizer, tokens: int, length: int) -> "Tensor":
    """(N, length) ids of about `tokens` of training text: windows spread evenly over each source.

    Every source has the same number of them; a window that begins in a document's middle has
    <|endoftext|> in front too.

    Raises:
        DataError: there is no training text.
    """
    import torch

    trained = read_documents(documents, ("source", "text"), split="train")
    if not trained:
        raise DataError(f"{documents}: no document has split train. Run: dvc repro validate")
    sources = [list(group) for _, group in groupby(trained, key=lambda d: d.source)]
    wanted = max(1, tokens // length // len(sources))
    rows = []
    for source in sources:
        ends = np.cumsum([document.n_bytes for document in source])
        starts = [int(ends[-1]) * i // wanted for i in range(wanted)]
        rows += [_window(tokenizer, source, ends, start, length) for start in starts]
    return torch.tensor(rows)


def _window(
    tokenizer: Tokenizer,
    documents: list[Document],
    ends: "np.ndarray[Any, Any]",
    start: int,
    length: int,
) -> list[int]:
    """`length` ids from byte `start` of the documents on; behind the last comes the first."""
    ids: list[int] = []
    first = int(np.searchsorted(ends, start, side="right"))
    for n in count(first):
        document = documents[n % len(documents)]
        skipped = start - int(ends[n]) + document.n_bytes if n == first else 0
        text = document.text.encode()[skipped : skipped + MOST_BYTES * length]
        ids += [tokenizer.eot_id, *tokenizer.encode(text.decode(errors="ignore"))]
        if len(ids) >= length:
            break
    return ids[:length]


MOST_BYTES = 16
"""Of a token, where there are many: enough text for a window is cut out by it."""


def relative_difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, Any]:
    """How much more `after` is than `before`, by source and at most: 0.01 is one per cent."""
    change = {source: value / before[source] - 1 for source, value in after.items()}
    return {
        "relative_difference": change,
        "greatest_relative_difference": max(change.values()),
    }
