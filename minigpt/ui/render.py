"""What a model wrote, as HTML: its text is text, whatever it looks like."""

import html
import json
import math
from collections.abc import Sequence

from minigpt.ui.client import ShownToken

BANDS = ((0.5, "50 % or more"), (0.2, "20 %"), (0.05, "5 %"), (0.01, "1 %"), (0.0, "less"))
"""Least probability of each colour, the likeliest first, and its words in the legend."""
NEWLINE = "⏎"
BYTES = "bytes:\\"
"""Before the bytes of a token that is part of a character, as OpenAI's completions write it."""


def written(prompt: str, text: str, label: str) -> str:
    """A text behind its prompt."""
    return (
        f'<div class="mg-text" role="region" aria-label="{html.escape(label)}" tabindex="0">'
        f'<span class="mg-prompt">{escaped(prompt)}</span>'
        f'<span class="mg-new">{escaped(text)}</span></div>'
    )


def conversation(messages: Sequence[dict[str, str]]) -> str:
    """Who said what."""
    said = "".join(
        f'<div class="mg-said mg-{html.escape(message["role"])}">'
        f'<span class="mg-who">{"You" if message["role"] == "user" else "Model"}</span>'
        f'<div class="mg-words">{escaped(message["content"].lstrip(" "))}</div></div>'
        for message in messages
    )
    return (
        '<div class="mg-text mg-chat" role="region" aria-label="Conversation" tabindex="0">'
        f"{said}</div>"
    )


def status(text: str, failed: bool = False) -> str:
    """One line that a screen reader speaks."""
    kind = "mg-status mg-failed" if failed else "mg-status"
    return f'<div class="{kind}" role="status">{escaped(text)}</div>'


def coloured(prompt: str, tokens: Sequence[ShownToken]) -> str:
    """Tokens, each in the colour of its probability; page.js shows what else was likely."""
    options = "".join(_option(place, token) for place, token in enumerate(tokens))
    return (
        f'<div class="mg-text"><span class="mg-prompt">{escaped(prompt)}</span>'
        f'<span class="mg-tokens" role="listbox" aria-label="Tokens" '
        f'aria-orientation="horizontal">{options}</span></div>'
        if tokens
        else f'<div class="mg-text"><span class="mg-prompt">{escaped(prompt)}</span></div>'
    )


def _option(place: int, token: ShownToken) -> str:
    probability = math.exp(token.logprob)
    alternatives = [[seen(text), math.exp(logprob)] for text, logprob in token.alternatives]
    text = seen(token.text)
    facts = json.dumps({"text": text, "p": probability, "alternatives": alternatives})
    shown = escaped(text).replace("\n", f"{NEWLINE}<br>")
    return (
        f'<span class="mg-token mg-band{band(probability)}" role="option" aria-selected="false" '
        f'tabindex="{-1 if place else 0}" data-token="{html.escape(facts)}">{shown}</span>'
    )


def seen(text: str) -> str:
    """A token as a person sees it."""
    return text.removeprefix("bytes:") if text.startswith(BYTES) else text


def band(probability: float) -> int:
    """The place of its colour in BANDS."""
    return next(place for place, (least, _) in enumerate(BANDS) if probability >= least)


def legend() -> str:
    """What the colours mean."""
    bands = "".join(
        f'<span class="mg-token mg-band{place}">{words}</span> '
        for place, (_, words) in enumerate(BANDS)
    )
    return f'<p class="mg-legend">Probability of each token: {bands}</p>'


def escaped(text: str) -> str:
    """Text as HTML that shows it."""
    return html.escape(text)
