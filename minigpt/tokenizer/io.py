"""The two files of a tokenizer: tiktoken's ranks and Hugging Face's tokenizer.json.

Both give the same ids for the same text, with one exception: Hugging Face's `encode` turns
`<|endoftext|>` written in a text into the special token, ours (tiktoken's `encode_ordinary`) never
does, so nobody can steer a model by typing one.
"""

import base64
import binascii
import json
from itertools import pairwise
from typing import Any

from minigpt.errors import PackageError
from minigpt.files import to_json

RANKS_FILE = "tokenizer.tiktoken"
HUGGING_FACE_FILE = "tokenizer.json"


def to_ranks(ranks: dict[bytes, int]) -> bytes:
    """The ranks in tiktoken's format: one `base64 rank` a line, by rank."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(b"%s %d\n" % (base64.b64encode(token), rank) for token, rank in ordered)


def from_ranks(data: bytes, name: str) -> dict[bytes, int]:
    """Undo `to_ranks`; `name` is for the message.

    Raises:
        PackageError: a line is not `base64 rank`, or the ranks are not 0, 1, 2 …
    """
    try:
        pairs = [line.split() for line in data.splitlines()]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error) as error:
        raise PackageError(f"{name}: not a tiktoken rank file: {error}") from error
    if len(ranks) < 256 or sorted(ranks.values()) != list(range(len(pairs))):
        raise PackageError(f"{name}: ranks are not 0..{len(pairs) - 1}, each once; file damaged?")
    return ranks


def to_hugging_face(ranks: dict[bytes, int], pattern: str, specials: dict[str, int]) -> bytes:
    """tokenizer.json for `tokenizers` and `transformers`."""
    letters = byte_letters()
    names = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = (merged_from(token, ranks) for token in sorted(ranks, key=ranks.__getitem__)[256:])
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": text, "special": True, **flags}
            for text, number in sorted(specials.items(), key=lambda item: item[1])
        ],
        "normalizer": None,  # bytes in, the same bytes out
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": pattern},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {**byte_level, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {names[token]: rank for token, rank in ranks.items()},
            "merges": [f"{names[left]} {names[right]}" for left, right in merges],
        },
    }
    return to_json(value).encode()


def from_hugging_face(data: bytes, name: str) -> tuple[str, dict[str, int]]:
    """The pattern and the special tokens (text → id) of a tokenizer.json that we wrote.

    Raises:
        PackageError: it is not JSON, or not of that form.
    """
    try:
        value: Any = json.loads(data)
        pattern = value["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"]
        specials = {token["content"]: token["id"] for token in value["added_tokens"]}
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise PackageError(f"{name}: not a tokenizer of ours: {error!r}") from error
    return pattern, specials


def merged_from(token: bytes, ranks: dict[bytes, int]) -> tuple[bytes, bytes]:
    """The two tokens whose merge made `token`: what older merges alone turn its bytes into."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        pairs = [ranks.get(a + b, len(ranks)) for a, b in pairwise(parts)]
        at = pairs.index(min(pairs))
        if pairs[at] >= ranks[token]:
            raise PackageError(f"the merges below rank {ranks[token]} do not lead to {token!r}")
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def byte_letters() -> dict[int, str]:
    """GPT-2's letter for each byte: itself where it can be seen, else one from 256 upwards."""
    seen = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    hidden = sorted(set(range(256)) - set(seen))
    return {b: chr(b) for b in seen} | {b: chr(256 + i) for i, b in enumerate(hidden)}
