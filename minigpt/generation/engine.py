"""Token by token, with a cache of keys and values. One interface; `backends` holds others.

Shapes: V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import torch

from minigpt.generation.config import SamplingConfig
from minigpt.generation.sampling import Floats, choose
from minigpt.model.gpt import GPT


class Engine(ABC):
    """Something that gives the logits of the next token. It holds one sequence at a time."""

    context_length: int
    """Most positions that it sees at once."""

    @abstractmethod
    def start(self, ids: Sequence[int]) -> Floats:
        """Forget everything, read 1 to context_length ids; (V,) logits of what follows."""

    @abstractmethod
    def step(self, token: int) -> Floats:
        """Read one more id; (V,) logits of what follows."""

    def generate(
        self,
        prompt_ids: Sequence[int],
        sampling: SamplingConfig,
        max_tokens: int,
        seed: int,
        *,
        stop: Collection[int] = (),
        banned: Sequence[int] = (),
    ) -> Iterator[int]:
        """New ids, as they are chosen: at most `max_tokens`, up to an id in `stop` (not given out).

        Of a prompt that is too long the end is read. When the context is full, its newer half is
        read again from position 0, so text of any length can be written. The same engine, prompt,
        settings and seed give the same ids. Ids in `banned` are never chosen.

        Raises:
            ValueError: the prompt is empty.
        """
        if not prompt_ids:
            raise ValueError("a prompt needs at least one token; <|endoftext|> starts a document")
        random, never = np.random.default_rng(seed), list(banned)
        seen = list(prompt_ids[-self.context_length :])
        logits = self.start(seen) if max_tokens else np.empty(0)
        for remaining in range(max_tokens, 0, -1):
            logits[never] = -np.inf
            token = choose(logits, sampling, random.random())
            if token in stop:
                return
            yield token
            if remaining == 1:
                return
            seen.append(token)
            if len(seen) <= self.context_length:
                logits = self.step(token)
            else:
                seen = seen[-max(1, self.context_length // 2) :]
                logits = self.start(seen)


class TorchEngine(Engine):
    """The model itself, in its own dtype and on its own device."""

    def __init__(self, model: GPT) -> None:
        """`model` is used, not copied."""
        self.model = model.eval()
        self.context_length = model.config.context_length
        self.cache = model.new_cache()
        self.device = next(model.parameters()).device

    def start(self, ids: Sequence[int]) -> Floats:
        """Read all of `ids` in one pass."""
        self.cache.length = 0
        return self.read(ids)

    def step(self, token: int) -> Floats:
        """Read one id behind what the cache holds."""
        return self.read((token,))

    @torch.inference_mode()
    def read(self, ids: Sequence[int]) -> Floats:
        """Logits behind the last of `ids`."""
        x = self.model.hidden(torch.tensor([ids], device=self.device), self.cache)
        logits = self.model.logits(x[:, -1])  # (1, V)
        return logits[0].cpu().double().numpy()  # in this order: MPS has no doubles
