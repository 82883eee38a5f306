"""A conversation as a prompt: by the template that a tokenizer carries, else as plain text.

What people wrote can never become a special token: the template is rendered around marks, its own
text is read with special tokens allowed, and what a mark stands for is read as ordinary text.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from minigpt.errors import PackageError, ParamsError
from minigpt.extras import require
from minigpt.generation.stream import prompt_ids
from minigpt.tokenizer.bpe import Tokenizer

CONFIG = "tokenizer_config.json"
END_OF_TURN = "<|end|>"
Role = Literal["system", "user", "assistant"]
BASE_NOTE = (
    "a base model: it carries no chat template, so the messages were read as one text, a blank "
    "line between them, and it continues that text"
)


class Message(TypedDict):
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True)
class Template:
    """How a tokenizer wants conversations written."""

    source: str
    """Jinja, as Hugging Face's chat templates are."""
    bos: str = ""
    eos: str = ""


@dataclass(frozen=True)
class ChatPrompt:
    """What a model reads."""

    ids: tuple[int, ...]
    ends: tuple[int, ...] = ()
    """Tokens that end the answer, beside the end of a document."""


def template_of(folder: Path) -> Template | None:
    """The chat template beside a tokenizer; None where there is none.

    Raises:
        PackageError: tokenizer_config.json is damaged.
    """
    try:
        value: Any = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        source = value.get("chat_template")
        tokens = {name: _content(value.get(name)) for name in ("bos_token", "eos_token")}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise PackageError(f"{folder / CONFIG}: cannot be read: {error}") from error
    if not isinstance(source, str):
        return None
    return Template(source, tokens["bos_token"], tokens["eos_token"])


def chat_prompt(
    tokenizer: Tokenizer, template: Template | None, messages: Sequence[Message]
) -> ChatPrompt:
    """The prompt behind which the next answer follows.

    Raises:
        ParamsError: the template refuses this conversation.
    """
    if template is None:
        text = "\n\n".join(message["content"] for message in messages)
        return ChatPrompt(prompt_ids(tokenizer, text))
    mark = secrets.token_hex(16)  # nobody can write it beforehand
    marked = [
        {"role": message["role"], "content": f"[{mark}:{number}]"}
        for number, message in enumerate(messages)
    ]
    ids: list[int] = []
    for i, part in enumerate(re.split(rf"\[{mark}:(\d+)\]", _rendered(template, marked))):
        if i % 2:
            ids += tokenizer.encode(messages[int(part)]["content"])
        else:
            ids += _with_specials(tokenizer, part)
    ends = {name for name in (template.eos, END_OF_TURN) if name in tokenizer.specials}
    stops = tuple(sorted(tokenizer.specials[name] for name in ends))
    return ChatPrompt(tuple(ids) or (tokenizer.eot_id,), stops)


def _rendered(template: Template, messages: Sequence[dict[str, str]]) -> str:
    """The template around `messages`."""
    jinja = require("jinja2")
    sandbox = require("jinja2.sandbox")

    def refuse(reason: str) -> None:
        raise ParamsError(f"messages: the model's chat template refuses them: {reason}")

    room = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    room.globals["raise_exception"] = refuse
    try:
        return str(
            room.from_string(template.source).render(
                messages=messages,
                add_generation_prompt=True,
                bos_token=template.bos,
                eos_token=template.eos,
            )
        )
    except (jinja.TemplateError, TypeError, ValueError, OverflowError) as error:
        raise ParamsError(f"messages: the model's chat template failed: {error}") from error


def _with_specials(tokenizer: Tokenizer, text: str) -> list[int]:
    """Ids of text of the template's own, in which special tokens are what they say."""
    names = "|".join(map(re.escape, sorted(tokenizer.specials, key=len, reverse=True)))
    ids: list[int] = []
    for part in filter(None, re.split(f"({names})", text)):
        known = tokenizer.specials.get(part)
        ids += tokenizer.encode(part) if known is None else [known]
    return ids


def _content(token: Any) -> str:
    """A special token of tokenizer_config.json, which may stand there as an object."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else ""
