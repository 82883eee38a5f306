"""The tokenizer of an export, which holds tokenizer.json and no other file of ours."""

import json
from pathlib import Path

from minigpt.errors import PackageError
from minigpt.tokenizer import io
from minigpt.tokenizer.bpe import Tokenizer


def load_exported(folder: Path) -> Tokenizer:
    """Read tokenizer.json of an export.

    Raises:
        PackageError: it is missing or damaged.
    """
    path = folder / io.HUGGING_FACE_FILE
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror}. Run: dvc repro export") from error
    pattern, specials = io.from_hugging_face(data, str(path))
    return Tokenizer(ranks_of(data, str(path)), pattern, specials)


def ranks_of(data: bytes, name: str) -> dict[bytes, int]:
    """The ranks in a tokenizer.json that we wrote.

    Raises:
        PackageError: it is not JSON, or not of that form.
    """
    bytes_of = {letter: byte for byte, letter in io.byte_letters().items()}
    try:
        vocab: dict[str, int] = json.loads(data)["model"]["vocab"]
        ranks = {bytes(bytes_of[letter] for letter in token): int(n) for token, n in vocab.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PackageError(f"{name}: not a tokenizer of ours: {error!r}") from error
    if len(ranks) < 256 or sorted(ranks.values()) != list(range(len(ranks))):
        raise PackageError(f"{name}: ranks are not 0..{len(ranks) - 1}, each once; file damaged?")
    return ranks
