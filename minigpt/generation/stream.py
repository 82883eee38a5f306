"""One text from one model, piece by piece: what needs no server."""

from collections.abc import Generator, Sequence

from minigpt.generation.config import SamplingConfig
from minigpt.generation.engine import Engine
from minigpt.generation.request import Request, Sampling
from minigpt.generation.scheduler import Scheduler
from minigpt.tokenizer.bpe import Tokenizer


def generate(
    engine: Engine,
    tokenizer: Tokenizer,
    prompt: str,
    sampling: SamplingConfig,
    max_tokens: int,
    seed: int,
    stop: Sequence[str] = (),
) -> Generator[str, None, None]:
    """Continue `prompt` as the start of a document; pieces of new text as they come.

    Ends after `max_tokens`, at the end of the document as the model sees it, or before the first
    of the `stop` strings. Of a prompt that is too long the end is read; where the context is full,
    its newer half is read again, so text of any length can be written.
    """
    request = Request(
        prompt=prompt_ids(tokenizer, prompt),
        max_tokens=max_tokens,
        sampling=Sampling.model_validate(sampling.model_dump()),
        seed=seed,
        stop=tuple(stop),
    )
    for piece in Scheduler(engine, tokenizer).write(request):
        if piece.text:
            yield piece.text


def prompt_ids(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    """Ids of `text` as the start of a document; special tokens written in it are plain text."""
    return (tokenizer.eot_id, *tokenizer.encode(text))
