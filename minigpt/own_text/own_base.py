"""A tokenizer and a base model from the text itself: how large they are, by how much there is."""

from dataclasses import dataclass
from typing import Any

from minigpt.errors import DataError
from minigpt.log import size_of

OWN_BASE_BYTES = 1_000_000
"""Below, a base learns the text by heart before it learns the language."""
PATIENCE = 4
"""Validations without a better one after which the base is trained enough."""


@dataclass(frozen=True)
class Size:
    """What suits a text of so many bytes or more."""

    least: int
    """Bytes of all text."""
    vocab_size: int
    model: dict[str, int]
    passes: int
    """Over the training text: the less of it, the more often (to about four it is as good as new
    text, arXiv:2305.16264)."""


SIZES = (
    Size(30_000_000, 4096, {"n_layer": 6, "n_embd": 256, "n_head": 4, "mlp_dim": 704}, 1),
    Size(10_000_000, 2048, {"n_layer": 4, "n_embd": 192, "n_head": 3, "mlp_dim": 512}, 2),
    Size(4_000_000, 2048, {"n_layer": 4, "n_embd": 192, "n_head": 3, "mlp_dim": 512}, 3),
    Size(OWN_BASE_BYTES, 1024, {"n_layer": 4, "n_embd": 128, "n_head": 2, "mlp_dim": 352}, 6),
)
"""The largest first. int4_group_size divides every width."""


def size_for(text_bytes: int) -> Size:
    """The row for so much text.

    Raises:
        DataError: it is too little for a base of its own.
    """
    size = next((size for size in SIZES if text_bytes >= size.least), None)
    if size is None:
        raise DataError(
            f"{size_of(text_bytes)} of text; a tokenizer and a base of its own need at least "
            f"{size_of(OWN_BASE_BYTES)}. Add text; or leave out --base own: then a base that has "
            "read other text is fine-tuned on it (--base NAME takes that of preset NAME)"
        )
    return size


def changes_for(text_bytes: int) -> dict[str, Any]:
    """How params.yaml differs for so much text.

    Raises:
        DataError: it is too little for a base of its own.
    """
    size = size_for(text_bytes)
    duration = {"kind": "epochs", "epochs": size.passes, "max_steps": None}
    return {
        "tokenizer": {"vocab_size": size.vocab_size},
        "model": size.model,
        "pretrain": {"duration": duration, "keep": "best", "patience": PATIENCE},
        "evaluate": {"samples": {"prompts": ["\n"]}},  # no words of the person's own in params.yaml
    }
