"""What the stages train_tokenizer and tokenize may be told."""

from typing import Annotated, Literal

from pydantic import Field

from minigpt.config import Config, Count
from minigpt.tokenizer.patterns import SPECIALS

MIN_VOCAB_SIZE = 256 + 1 + len(SPECIALS)


class TokenizerConfig(Config):
    """A byte-level BPE vocabulary."""

    vocab_size: Annotated[int, Field(ge=MIN_VOCAB_SIZE, le=2**20)] = 2048
    """Tokens in all: 256 bytes, the merges and the reserved special tokens. Small, because a small
    model spends its parameters better on layers (1k and 4k were no better at 2.4M parameters)."""
    pattern: Literal["qwen2", "gpt2", "gpt4", "code"] = "qwen2"
    """How text is cut before merging. qwen2 is native in tiktoken, tokenizers and llama.cpp."""


class TokenizeConfig(Config):
    """Token shards."""

    shard_tokens: Count = 100_000_000
    """Tokens in one file, at most (200 MB at 2 bytes); a longer document has a file to itself."""


class TrainTokenizerParams(Config):
    """What the stage train_tokenizer reads of params.yaml."""

    tokenizer: TokenizerConfig = TokenizerConfig()


class TokenizeParams(Config):
    """What the stage tokenize reads of params.yaml."""

    tokenize: TokenizeConfig = TokenizeConfig()
