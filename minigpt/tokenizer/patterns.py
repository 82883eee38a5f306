"""How text is cut into pieces before merging, and the tokens that text can never produce.

The patterns have no possessive quantifiers: those are only for speed, and Oniguruma (the engine of
Hugging Face's tokenizers) reads `{1,3}+` otherwise than Rust's engines do.
"""

PATTERNS = {
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt4": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    # A line's end and the next line's indentation are one piece; digits go in pairs.
    "code": (
        r"\r?\n[ \t]*(?=\S)|'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}"
        r"| ?[^\s\p{L}\p{N}]+|\s*[\r\n]|\s+(?!\S)|\s+"
    ),
}
"""By name. llama.cpp has a name for each but code."""

END_OF_TEXT = "<|endoftext|>"
PAD = "<|pad|>"
SPECIALS = (
    END_OF_TEXT,
    PAD,
    *(f"<|{name}|>" for name in ("system", "user", "assistant", "end", "context")),
    *(f"<|fim_{name}|>" for name in ("prefix", "middle", "suffix")),
    *(f"<|{name}|>" for name in ("file", "function", "class")),
    *(f"<|spare_{i}|>" for i in range(16)),
)
"""Reserved from the first day, so that no later feature resizes the embedding; ids follow the
merges in this order."""
