"""Requests written by a scheduler to their ends, and what came of each."""

from dataclasses import dataclass, field

from minigpt.generation.request import Request, Sampling
from minigpt.generation.scheduler import Scheduler
from minigpt.generation.stream import prompt_ids

WARM = {"temperature": 1.0, "top_k": None, "top_p": None}
GREEDY = {"temperature": 0.0}
PROMPTS = ["The", "The quick brown fox", "over the lazy dog, and", "x", "a dream goes on.\n"]
SETTINGS = [WARM, GREEDY, {}, WARM | {"min_p": 0.02}, WARM | {"repetition_penalty": 1.3}]


@dataclass
class Answer:
    """The pieces of one request."""

    pieces: list = field(default_factory=list)

    def texts(self):
        """Text a choice."""
        texts = {}
        for piece in self.pieces:
            texts[piece.choice] = texts.get(piece.choice, "") + piece.text
        return [texts[choice] for choice in sorted(texts)]

    @property
    def text(self):
        """That of the only choice."""
        [text] = self.texts()
        return text

    @property
    def finish(self):
        return [piece.finish for piece in self.pieces if piece.finish]

    @property
    def usage(self):
        return [piece.usage for piece in self.pieces if piece.finish]

    @property
    def tokens(self):
        return [token for piece in self.pieces for token in piece.tokens]


def request(tokenizer, text="The quick brown", sampling=WARM, **values):
    """A request for a continuation of `text`, of which 20 tokens unless it says otherwise."""
    prompt = values.pop("prompt", None) or prompt_ids(tokenizer, text)
    return Request(prompt=prompt, sampling=Sampling(**sampling), **{"max_tokens": 20} | values)


def answers(engine, tokenizer, requests, **settings):
    """All of them at once by a new scheduler."""
    scheduler = Scheduler(engine, tokenizer, **settings)
    return finished(scheduler, requests)


def finished(scheduler, requests):
    """What a scheduler writes of `requests`, taken at once."""
    found = [Answer() for _ in requests]
    for one, answer in zip(requests, found, strict=True):
        scheduler.submit(one, answer.pieces.append)
    while scheduler.turn():
        pass
    return found


def ids_written(engine, tokenizer, one):
    """The tokens of a request for one text."""
    scheduler = Scheduler(engine, tokenizer)
    job = scheduler.submit(one, Answer().pieces.append)
    while scheduler.turn():
        pass
    return job.works[0].writer.ids


def mixed(tokenizer, count):
    """Requests of different prompts, lengths and settings; some go beyond the context."""
    return [
        request(
            tokenizer,
            PROMPTS[i % 5] * (1 + i % 3),
            SETTINGS[i % 5 if i % 2 else 0],
            seed=i,
            max_tokens=10 + 17 * (i % 5),
        )
        for i in range(count)
    ]
