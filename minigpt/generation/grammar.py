"""Text of a form that was asked for: a JSON schema, a regular expression or a grammar.

llguidance says before each token which ones keep to the form (docs/decisions/0049).
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt.errors import ParamsError
from minigpt.extras import require
from minigpt.generation.request import Constraint
from minigpt.tokenizer.bpe import Tokenizer

LONGEST_REASON = 300


class Form:
    """A constraint at work on one text."""

    def __init__(self, constraint: Constraint, tokenizer: Tokenizer) -> None:
        """Compile it.

        Raises:
            ParamsError: it is no schema, expression or grammar, or one beyond llguidance's limits.
        """
        library = require("llguidance")
        words = _words(tokenizer)
        try:
            self._matcher = library.LLMatcher(words, _grammar_of(constraint), log_level=0)
            reason = self._matcher.get_error() if self._matcher.is_error() else ""
        except ValueError as error:
            reason = str(error)
        if reason:
            sentence = " ".join(reason.split())[:LONGEST_REASON]
            raise ParamsError(f"{constraint.kind}: cannot be followed: {sentence}")
        self._bits = np.zeros((1, (tokenizer.vocab_size + 31) // 32), np.int32)
        self._size = tokenizer.vocab_size

    def forbidden(self) -> NDArray[np.bool_]:
        """(V,) true for each token that would break the form."""
        require("llguidance.numpy").fill_next_token_bitmask(self._matcher, self._bits)
        bits = np.unpackbits(self._bits.view(np.uint8), bitorder="little")
        forbidden: NDArray[np.bool_] = bits[: self._size] == 0
        return forbidden

    def accept(self, token: int) -> None:
        """Go on behind `token`."""
        self._matcher.consume_token(token)

    @property
    def complete(self) -> bool:
        """Whether nothing can follow."""
        return bool(self._matcher.is_stopped())


def _grammar_of(constraint: Constraint) -> str:
    """The grammar as llguidance has it. Raises a ValueError where it is none."""
    matcher = require("llguidance").LLMatcher
    if constraint.kind == "json":
        # A small model that may write any white space writes nothing else.
        tight = {"whitespace_flexible": False}
        return str(matcher.grammar_from_json_schema(constraint.text, overrides=tight))
    if constraint.kind == "regex":
        return str(matcher.grammar_from_regex(constraint.text))
    return str(matcher.grammar_from_lark(constraint.text))


@lru_cache(maxsize=4)
def _words(tokenizer: Tokenizer) -> Any:
    """The tokenizer as llguidance wants it: a second of work."""
    return require("llguidance").LLTokenizer.from_tiktoken(
        encoder=tokenizer.ranks,
        special_tokens=tokenizer.specials,
        pattern=tokenizer.pattern,
        eos_token=tokenizer.eot_id,
        n_vocab=tokenizer.vocab_size,
        slices=None,
    )
