"""OpenAI's completions and chat completions."""

import secrets
from collections.abc import Sequence
from typing import Any

from minigpt.generation.chat import BASE_NOTE
from minigpt.serving.answering import Answer, Shape
from minigpt.serving.bodies import MOST_PROMPTS, OPENAI, OURS, SHARED, Ask, ask_of, form_of, stops
from minigpt.serving.errors import ApiError
from minigpt.serving.tokens import for_chat, for_completion
from minigpt.serving.wire import NewText

DONE = "[DONE]"


def settings_of(body: Any, names: Sequence[str]) -> dict[str, Any]:
    """Settings that a body gives, in front of OpenAI's defaults."""
    given = body.model_dump(include=set(names))
    return OPENAI | {name: value for name, value in given.items() if value is not None}


def ask_completion(body: Any) -> tuple[Ask, list[dict[str, Any]]]:
    """What a CompletionBody asks, and a message to the worker for each prompt.

    Raises:
        ApiError: it cannot be done here.
    """
    settings = settings_of(body, (*SHARED, *OURS, "max_tokens", "best_of", "logprobs"))
    settings["stop"] = stops(body.stop)
    if body.echo and body.logprobs is not None:
        raise ApiError(
            400,
            "echo: log-probabilities of a prompt cannot be given; leave echo or logprobs out",
            param="echo",
        )
    if body.stream and settings.get("best_of", 1) > settings.get("n", 1):
        raise ApiError(
            400, "best_of: the best is known at the end, so it cannot be streamed", param="best_of"
        )
    asked = ask_of(body, settings, form_of(body))
    prompts = "" if body.prompt is None else body.prompt
    several = isinstance(prompts, list) and not isinstance(prompts[0], int)
    listed = prompts if several else [prompts]
    if len(listed) * asked.n > MOST_PROMPTS:
        raise ApiError(
            400, f"prompt: {len(listed)} prompts with n {asked.n} are more than {MOST_PROMPTS} "
            "texts; send several requests", param="prompt",
        )  # fmt: skip
    return asked, [{"prompt": prompt, "settings": asked.settings} for prompt in listed]


def ask_chat(body: Any) -> tuple[Ask, dict[str, Any]]:
    """What a ChatBody asks, and the message to a worker.

    Raises:
        ApiError: it cannot be done here.
    """
    settings = settings_of(body, (*SHARED, *OURS, "max_tokens"))
    settings["stop"] = stops(body.stop)
    settings["max_tokens"] = (
        body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    )
    if body.top_logprobs is not None and not body.logprobs:
        raise ApiError(400, "top_logprobs: needs logprobs to be true; set it", param="top_logprobs")
    if body.logprobs:
        settings["logprobs"] = body.top_logprobs or 0
    asked = ask_of(body, settings, form_of(body))
    messages = [message.plain() for message in body.messages]
    return asked, {"messages": messages, "settings": asked.settings}


class OpenAi(Shape):
    """What both have in common."""

    kind: str
    chunk: str
    prefix: str

    def __init__(self, *, include_usage: bool) -> None:
        """`include_usage`: a stream ends with the tokens of all texts."""
        self.include_usage = include_usage
        self._id = f"{self.prefix}-{secrets.token_hex(12)}"
        self._head: dict[str, Any] = {}

    def whole(self, answer: Answer) -> dict[str, Any]:
        """All of it."""
        choices = [self.choice(answer, i) for i in range(len(answer.texts))]
        said = self._facts(answer, self.kind) | {"choices": choices, "usage": usage_of(answer)}
        notes = [*self.notes(answer), *answer.notes()]
        return said | {"note": "; ".join(notes)} if notes else said

    def opening(self, answer: Answer) -> list[dict[str, Any]]:
        """What every event of this stream begins with is known now."""
        self._head = self._facts(answer, self.chunk)
        return []

    def closing(self, answer: Answer) -> list[dict[str, Any] | str]:
        """Usage if it was asked for, and OpenAI's last word."""
        notes = [*self.notes(answer), *answer.notes()]
        more = {"note": "; ".join(notes)} if notes else {}
        if self.include_usage:
            return [self._head | {"choices": [], "usage": usage_of(answer)} | more, DONE]
        return [DONE]

    def choice(self, answer: Answer, number: int) -> dict[str, Any]:
        """One text."""
        raise NotImplementedError

    def notes(self, answer: Answer) -> list[str]:
        """What is to be said beside what is said of every answer."""
        del answer
        return []

    def with_choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        """An event of a stream."""
        said = self._head | {"choices": [choice]}
        return said | {"usage": None} if self.include_usage else said

    def _facts(self, answer: Answer, kind: str) -> dict[str, Any]:
        files = answer.worker.files
        return {
            "id": self._id,
            "object": kind,
            "created": answer.created,
            "model": files.id,
            "system_fingerprint": f"{files.id}-{files.digest[:12]}",
            "version": files.name,
            "sha256": files.digest,
            "seed": answer.ask.seed,
        }


class Completion(OpenAi):
    """/v1/completions."""

    kind = chunk = "text_completion"
    prefix = "cmpl"

    def __init__(self, prompts: Sequence[Any], *, echo: bool, include_usage: bool) -> None:
        """`echo`: each text stands behind its prompt."""
        super().__init__(include_usage=include_usage)
        self._prompts, self._echo = prompts, echo
        self._shown: dict[int, int] = {}

    def opening(self, answer: Answer) -> list[dict[str, Any]]:
        """The prompts, if they are to be given back."""
        super().opening(answer)
        if not self._echo:
            return []
        return [
            self.with_choice(self._choice(i, self._before(answer, i), None, None))
            for i in range(len(answer.texts))
        ]

    def event(self, answer: Answer, new: NewText) -> list[dict[str, Any]]:
        """New text of one choice."""
        logprobs = None
        if new.tokens:
            logprobs = for_completion(new.tokens, self._shown.get(new.choice, 0))
            self._shown[new.choice] = logprobs["text_offset"][-1] + len(logprobs["tokens"][-1])
        del answer
        return [self.with_choice(self._choice(new.choice, new.text, logprobs, new.finish))]

    def choice(self, answer: Answer, number: int) -> dict[str, Any]:
        """One text, behind its prompt if that was asked for."""
        told = answer.texts[number]
        asked = answer.ask.logprobs
        logprobs = for_completion(told.tokens, 0) if asked else None
        text = self._before(answer, number) + "".join(told.text)
        return self._choice(number, text, logprobs, told.finish)

    def _before(self, answer: Answer, number: int) -> str:
        prompt = number // answer.ask.n
        if not self._echo:
            return ""
        if isinstance(text := self._prompts[prompt], str):
            return text
        taken = {facts["prompt"]: facts for facts in answer.inbox.taken}
        return str(taken[prompt].get("text", ""))

    def _choice(
        self, number: int, text: str, logprobs: dict[str, Any] | None, finish: str | None
    ) -> dict[str, Any]:
        return {"index": number, "text": text, "logprobs": logprobs, "finish_reason": finish}


class Chat(OpenAi):
    """/v1/chat/completions."""

    kind, chunk, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def opening(self, answer: Answer) -> list[dict[str, Any]]:
        """Who speaks."""
        super().opening(answer)
        role = {"role": "assistant", "content": ""}
        return [
            self.with_choice({"index": i, "delta": role, "logprobs": None, "finish_reason": None})
            for i in range(len(answer.texts))
        ]

    def event(self, answer: Answer, new: NewText) -> list[dict[str, Any]]:
        """New text of one choice; its end is an event of its own, as OpenAI sends it."""
        del answer
        events = []
        if new.text or new.tokens:
            logprobs = for_chat(new.tokens) if new.tokens else None
            events.append(self._delta(new.choice, {"content": new.text}, logprobs, None))
        if new.finish is not None:
            events.append(self._delta(new.choice, {}, None, new.finish))
        return events

    def choice(self, answer: Answer, number: int) -> dict[str, Any]:
        """One answer."""
        told = answer.texts[number]
        content = "".join(told.text)
        return {
            "index": number,
            "message": {"role": "assistant", "content": content, "refusal": None},
            "logprobs": for_chat(told.tokens) if answer.ask.logprobs else None,
            "finish_reason": told.finish,
        }

    def notes(self, answer: Answer) -> list[str]:
        """That a base model answers nobody."""
        return [] if answer.worker.facts.chats else [BASE_NOTE]

    def _delta(
        self, number: int, delta: dict[str, Any], logprobs: Any, finish: str | None
    ) -> dict[str, Any]:
        return self.with_choice(
            {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        )


def usage_of(answer: Answer) -> dict[str, Any]:
    """Tokens, in OpenAI's words; what was not read and what was read again beside them."""
    usage = answer.usage()
    return {
        "prompt_tokens": usage["prompt"],
        "completion_tokens": usage["written"],
        "total_tokens": usage["prompt"] + usage["written"],
        "prompt_tokens_details": {"cached_tokens": usage["cached"]},
        "dropped_tokens": usage["dropped"],
        "rereads": usage["rereads"],
    }
