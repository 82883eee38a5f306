"""What is asked of a model: settings of one request, checked."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from minigpt.config import Config
from minigpt.generation.config import SamplingConfig

MOST_TOKENS = 1_000_000
"""Of one text: hours of work."""
MOST_CHOICES = 16
"""Texts of one request."""
MOST_ALTERNATIVES = 20
"""Likeliest tokens listed beside each one written, as in OpenAI's API."""
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(gt=0, le=1)]


class Sampling(SamplingConfig):
    """How a token is chosen from logits, in this order.

    logit_bias, the three penalties, the constraint, temperature, top_k, top_p, typical_p, min_p.
    """

    temperature: Annotated[float, Field(ge=0, le=100)] = 0.8
    """Below 1: likelier words; above 1: bolder; 0: always the likeliest."""
    typical_p: Share | None = None
    """Among the tokens whose surprise is nearest to the expected one, up to this much probability
    (arXiv:2202.00666); null: all."""
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Among tokens at least this many times as likely as the likeliest (arXiv:2407.01082)."""
    repetition_penalty: Annotated[float, Field(ge=0.01, le=100)] = 1.0
    """Logits of tokens seen in prompt or text are divided (negative ones multiplied) by it
    (arXiv:1909.05858)."""
    frequency_penalty: Penalty = 0.0
    """Taken off a token's logit as often as the text has it (OpenAI's)."""
    presence_penalty: Penalty = 0.0
    """Taken off once where the text has it at all (OpenAI's)."""
    logit_bias: dict[int, Annotated[float, Field(ge=-100, le=100)]] = {}
    """Token id → what is added to its logit; -100 bans it."""

    @property
    def penalizes(self) -> bool:
        """Whether what was written before changes the logits."""
        return (
            self.repetition_penalty != 1
            or self.frequency_penalty != 0
            or self.presence_penalty != 0
        )


class Constraint(Config):
    """A form that the text must have; `grammar.py` compiles it."""

    kind: Literal["json", "regex", "lark"]
    """json: a JSON schema; regex: a regular expression; lark: a grammar (llguidance's dialect)."""
    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    """The schema as JSON, the expression or the grammar."""


class Request(Config):
    """One prompt and what is wanted of it."""

    prompt: tuple[int, ...]
    """Ids to continue, at least one; of more than the model sees the end is read."""
    max_tokens: Annotated[int, Field(ge=0, le=MOST_TOKENS)] = 200
    """New tokens of each choice at most."""
    sampling: Sampling = Sampling()
    """How each token is chosen."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] = 0
    """Same model, prompt, settings and seed: same text, whatever else is computed beside it."""
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    """Texts to give."""
    best_of: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    """Texts to write, of which the `n` with the likeliest tokens are given; null: n."""
    beams: Annotated[int, Field(ge=1, le=MOST_CHOICES)] = 1
    """Above 1: beam search of this width instead of chance; gives its `n` best."""
    stop: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    """The text ends before the first of these."""
    stop_tokens: tuple[int, ...] = ()
    """Ids that end the text, beside the end of a document."""
    ignore_end: bool = False
    """Write on where the model would end the document."""
    logprobs: Annotated[int, Field(ge=0, le=MOST_ALTERNATIVES)] | None = None
    """How many alternatives to list beside each token, with log-probabilities; null: no list."""
    constraint: Constraint | None = None
    """A form that the text must have."""
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    """Seconds after which it is ended, queued or not; null: none."""

    @field_validator("prompt")
    @classmethod
    def _has_a_token(cls, prompt: tuple[int, ...]) -> tuple[int, ...]:
        if not prompt:
            raise ValueError("a prompt needs at least one token; <|endoftext|> starts a document")
        return prompt

    @field_validator("stop")
    @classmethod
    def _stops_are_texts(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("an empty text would end at once; leave it out")
        return stop

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.best_of is not None and self.best_of < self.n:
            raise ValueError(f"best_of {self.best_of} is less than n {self.n}")
        if self.beams > 1:
            if self.beams < self.n:
                raise ValueError(f"beams {self.beams} is less than n {self.n}")
            if self.best_of is not None:
                raise ValueError("beams and best_of are two ways to search; give one")
            if self.constraint is not None:
                raise ValueError("a beam search takes no constraint; leave one of them out")
        return self

    @property
    def choices(self) -> int:
        """Texts to write."""
        return self.best_of or self.n
