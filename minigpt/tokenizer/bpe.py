"""The tokenizer: rustbpe finds the merges, tiktoken applies them."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import rustbpe
import tiktoken

from minigpt.digest import text_digest
from minigpt.errors import DataError, PackageError
from minigpt.files import new_folder, write_bytes
from minigpt.tokenizer import io
from minigpt.tokenizer.config import TokenizerConfig
from minigpt.tokenizer.patterns import END_OF_TEXT, PATTERNS, SPECIALS

FILES = (io.HUGGING_FACE_FILE, io.RANKS_FILE)
MAX_SPACES = 500_000
"""Longest run of white space; the engines' backtracking gives up at a million."""
ENDLESS = re.compile(rf"\s{{{MAX_SPACES}}}")


class Tokenizer:
    """Text to ids and back. Special tokens are only ever added by number (`specials`)."""

    def __init__(self, ranks: dict[bytes, int], pattern: str, specials: dict[str, int]) -> None:
        """`ranks`: token bytes → id, merges in order; `specials`: text → id, after the merges."""
        self.ranks, self.pattern, self.specials = ranks, pattern, specials
        self._encoding = tiktoken.Encoding(
            "minigpt", pat_str=pattern, mergeable_ranks=ranks, special_tokens=specials
        )

    @classmethod
    def train(cls, texts: Iterable[str], config: TokenizerConfig) -> Self:
        """Learn the merges of `texts`. The same texts in any order give the same tokenizer.

        Raises:
            DataError: the texts hold too few different pieces for that many tokens.
        """
        wanted = config.vocab_size - len(SPECIALS)
        trainer = rustbpe.Tokenizer()
        trainer.train_from_iterator(
            map(splittable, texts), vocab_size=wanted, pattern=PATTERNS[config.pattern]
        )
        ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
        if len(ranks) < wanted:
            raise DataError(
                f"the training text yields {len(ranks) + len(SPECIALS):,} tokens, "
                f"{config.vocab_size:,} were asked for. Lower tokenizer.vocab_size in params.yaml "
                "or add text."
            )
        specials = {text: wanted + i for i, text in enumerate(SPECIALS)}
        return cls(ranks, PATTERNS[config.pattern], specials)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote: models/tokenizer or any package.

        Raises:
            PackageError: a file is missing or damaged, or the two do not belong together.
        """
        try:
            files = {name: (folder / name).read_bytes() for name in FILES}
        except OSError as error:
            raise PackageError(
                f"{folder}: no tokenizer there ({error.strerror}: {Path(error.filename).name}). "
                "Run: dvc repro train_tokenizer"
            ) from error
        ranks = io.from_ranks(files[io.RANKS_FILE], f"{folder}/{io.RANKS_FILE}")
        name = f"{folder}/{io.HUGGING_FACE_FILE}"
        pattern, specials = io.from_hugging_face(files[io.HUGGING_FACE_FILE], name)
        first = len(ranks)
        if sorted(specials.values()) != list(range(first, first + len(specials))):
            raise PackageError(f"{name}: special tokens do not follow {io.RANKS_FILE}'s {first}")
        loaded = cls(ranks, pattern, specials)
        loaded.files = files  # as on disk: the digest is of what is there
        return loaded

    def save(self, folder: Path) -> None:
        """Write both files into a new folder (one that is there is replaced)."""
        with new_folder(folder) as new:
            for name, data in self.files.items():
                write_bytes(new / name, data)

    @cached_property
    def files(self) -> dict[str, bytes]:
        """File name → bytes, for folders that hold more than a tokenizer."""
        return {
            io.HUGGING_FACE_FILE: io.to_hugging_face(self.ranks, self.pattern, self.specials),
            io.RANKS_FILE: io.to_ranks(self.ranks),
        }

    @cached_property
    def digest(self) -> str:
        """Digest of the two files, wherever they lie: that of the folder models/tokenizer."""
        return text_digest(
            f"{hashlib.sha256(data).hexdigest()}  {name}"
            for name, data in sorted(self.files.items())
        )

    @property
    def vocab_size(self) -> int:
        """Bytes, merges and special tokens."""
        return len(self.ranks) + len(self.specials)

    @property
    def eot_id(self) -> int:
        """The id of <|endoftext|>, which stands before every document."""
        return self.specials[END_OF_TEXT]

    @cached_property
    def byte_lengths(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """(vocab_size,) bytes of text that each id stands for; 0 for special tokens."""
        lengths = np.zeros(self.vocab_size, dtype=np.int64)
        for token, rank in self.ranks.items():
            lengths[rank] = len(token)
        return lengths

    def encode(self, text: str) -> list[int]:
        """Ids of `text`; special tokens written in it are ordinary text."""
        ids: list[int] = self.encode_array(text).tolist()
        return ids

    def encode_array(self, text: str) -> np.ndarray[Any, np.dtype[np.uint32]]:
        """As `encode`, without a Python object a token. Half of a surrogate pair becomes U+FFFD.

        Raises:
            DataError: a run of white space is too long for the pattern's engine.
        """
        try:
            return self._encoding.encode_to_numpy(splittable(text), disallowed_special=())
        except UnicodeEncodeError:
            return self.encode_array(
                text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            )

    def encode_batch(
        self, texts: Sequence[str], threads: int
    ) -> list[np.ndarray[Any, np.dtype[np.uint32]]]:
        """`encode_array` of every text, on `threads` threads (tiktoken releases the GIL)."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self.encode_array, texts))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`; bytes that are not UTF-8 (a cut character) become U+FFFD."""
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Bytes of `ids`; a special token gives its name."""
        return self._encoding.decode_bytes(ids)

    def token_bytes(self, token: int) -> bytes:
        """Bytes of one id."""
        return self._encoding.decode_single_token_bytes(token)


def splittable(text: str) -> str:
    """`text`, if the pattern's engines can split it; else DataError."""
    if len(text) > MAX_SPACES and (match := ENDLESS.search(text)):
        raise DataError(
            f"a text has over {MAX_SPACES:,} white-space characters in a row "
            f"(from character {match.start():,}); the tokenizer cannot split it. Drop that text."
        )
    return text
