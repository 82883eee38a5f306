"""POST /generate: our own words."""

from typing import Any

from minigpt.generation.settings import OF_SAMPLING
from minigpt.serving.answering import Answer, Shape
from minigpt.serving.bodies import OF_REQUEST, Ask, ask_of, form_of, stops
from minigpt.serving.tokens import listed
from minigpt.serving.wire import NewText


def ask(body: Any) -> tuple[Ask, dict[str, Any]]:
    """What a GenerateBody asks, and the message to a worker."""
    given = body.model_dump(include={*OF_REQUEST, *OF_SAMPLING}, exclude_unset=True)
    given["stop"] = stops(body.stop)
    asked = ask_of(body, given, form_of(body))
    return asked, {"prompt": body.prompt, "settings": asked.settings}


class Generated(Shape):
    """{"generated", "version", "sha256", "engine", "finish_reason", "usage", "seed"}."""

    def whole(self, answer: Answer) -> dict[str, Any]:
        """All of it; `choices` where there are several."""
        first, *others = (self._choice(answer, i) for i in range(len(answer.texts)))
        said = first | self._facts(answer)
        return said | {"choices": [first, *others]} if others else said

    def opening(self, answer: Answer) -> list[dict[str, Any]]:
        """Nothing."""
        del answer
        return []

    def event(self, answer: Answer, new: NewText) -> list[dict[str, Any]]:
        """{"choice", "text"}; the last of a choice with its finish_reason."""
        del answer
        said: dict[str, Any] = {"choice": new.choice, "text": new.text}
        if new.tokens:
            said["tokens"] = listed(new.tokens)
        if new.finish is not None:
            said["finish_reason"] = new.finish
        return [said]

    def closing(self, answer: Answer) -> list[dict[str, Any] | str]:
        """Which model it was, and what it cost."""
        finish = answer.texts[0].finish
        return [{"done": True, "finish_reason": finish} | self._facts(answer)]

    def _choice(self, answer: Answer, number: int) -> dict[str, Any]:
        told = answer.texts[number]
        said: dict[str, Any] = {"generated": "".join(told.text), "finish_reason": told.finish}
        return said | {"tokens": listed(told.tokens)} if told.tokens else said

    def _facts(self, answer: Answer) -> dict[str, Any]:
        files, usage = answer.worker.files, answer.usage()
        notes = answer.notes()
        return {
            "version": files.name,
            "sha256": files.digest,
            "engine": files.engine,
            "seed": answer.ask.seed,
            "usage": usage,
        } | ({"note": "; ".join(notes)} if notes else {})
