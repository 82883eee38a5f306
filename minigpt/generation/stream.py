"""Text as it is written: whole characters only, up to a stop string."""

import codecs
from collections.abc import Iterable, Iterator, Sequence

from minigpt.generation.config import SamplingConfig
from minigpt.generation.engine import Engine
from minigpt.tokenizer.bpe import Tokenizer


def generate(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: SamplingConfig,
    max_tokens: int,
    seed: int,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """Continue `prompt` as the start of a document; pieces of new text as they come.

    Ends after `max_tokens`, at the end of the document as the model sees it, or before the first
    of the `stop` strings.
    """
    eot = tokenizer.eot_id
    reserved = [token for token in tokenizer.specials.values() if token != eot]
    ids = engine.generate(
        [eot, *tokenizer.encode(prompt)], sampling, max_tokens, seed, stop={eot}, banned=reserved
    )
    return until(stop, characters(tokenizer.token_bytes(token) for token in ids))


def characters(pieces: Iterable[bytes]) -> Iterator[str]:
    """Text of UTF-8 that may be cut anywhere; what is no character becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for piece in pieces:
        if text := decoder.decode(piece):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def until(stop: Sequence[str], pieces: Iterable[str]) -> Iterator[str]:
    """The pieces before the first of the `stop` strings, wherever it is cut.

    An end of the text that may become a stop string is held back until that is known.
    """
    buffer = ""
    for piece in pieces:
        buffer += piece
        if (end := first_of(stop, buffer)) is not None:
            if buffer[:end]:
                yield buffer[:end]
            return
        safe = len(buffer) - longest_beginning(stop, buffer)
        if safe:
            yield buffer[:safe]
            buffer = buffer[safe:]
    if buffer:
        yield buffer


def first_of(stop: Sequence[str], text: str) -> int | None:
    """Where the first stop string in `text` begins."""
    places = [place for stop_string in stop if (place := text.find(stop_string)) >= 0]
    return min(places, default=None)


def longest_beginning(stop: Sequence[str], text: str) -> int:
    """Length of the longest end of `text` with which a stop string begins."""
    lengths = (
        n
        for stop_string in stop
        for n in range(1, len(stop_string))
        if text.endswith(stop_string[:n])
    )
    return max(lengths, default=0)
