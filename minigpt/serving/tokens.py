"""Tokens with their log-probabilities, in the words of each endpoint.

A token from a worker is [id, its bytes as Latin-1, log-probability, alternatives].
"""

from collections.abc import Sequence
from typing import Any

LOWEST = -9999.0
"""What stands for a probability of 0: JSON has no infinity, and OpenAI writes this."""


def text_of(latin: str) -> str:
    """A token as text; where its bytes are part of a character, as OpenAI writes such."""
    data = latin.encode("latin-1")
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


def finite(logprob: float) -> float:
    """A log-probability that JSON can hold."""
    return max(LOWEST, logprob)


def listed(tokens: Sequence[Any]) -> list[dict[str, Any]]:
    """For /generate: id, text, logprob and the alternatives alike."""
    return [
        {
            "id": number,
            "text": text_of(text),
            "logprob": finite(logprob),
            "top": [
                {"id": other, "text": text_of(word), "logprob": finite(chance)}
                for other, word, chance in top
            ],
        }
        for number, text, logprob, top in tokens
    ]


def for_chat(tokens: Sequence[Any]) -> dict[str, Any]:
    """For /v1/chat/completions."""
    content = [
        _entry(text, logprob) | {"top_logprobs": [_entry(word, chance) for _, word, chance in top]}
        for _, text, logprob, top in tokens
    ]
    return {"content": content, "refusal": None}


def for_completion(tokens: Sequence[Any], offset: int) -> dict[str, Any]:
    """For /v1/completions; `offset`: characters before the first of them."""
    texts = [text_of(text) for _, text, _, _ in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += 0 if text.startswith("bytes:") else len(text)
    return {
        "tokens": texts,
        "token_logprobs": [finite(logprob) for _, _, logprob, _ in tokens],
        "top_logprobs": [
            {text_of(word): finite(chance) for _, word, chance in top} for _, _, _, top in tokens
        ],
        "text_offset": offsets,
    }


def _entry(latin: str, logprob: float) -> dict[str, Any]:
    return {
        "token": text_of(latin),
        "logprob": finite(logprob),
        "bytes": list(latin.encode("latin-1")),
    }
