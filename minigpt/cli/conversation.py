"""What `minigpt chat` holds: the messages, the settings, the model, and how they are kept."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from minigpt.config import Config
from minigpt.errors import DataError, ParamsError
from minigpt.files import at_home, write_json, writing
from minigpt.generation import chat
from minigpt.generation.answer import Choice, run
from minigpt.generation.models import Model
from minigpt.generation.request import Request
from minigpt.generation.scheduler import Scheduler
from minigpt.generation.settings import (
    CONSTRAINTS,
    NAMES,
    laid_over,
    request_of,
    settings_in,
)
from minigpt.log import excerpt, size_of
from minigpt.params_errors import explain, near

ONE_TEXT = ("n", "best_of", "beams", "logprobs")
"""Settings that have no meaning here."""
SETTINGS = tuple(name for name in NAMES if name not in ONE_TEXT)
UNSET = ("none", "null", "default")
LARGEST = 10_000_000
"""Bytes of a saved chat: more is something else."""


class Message(Config):
    """What one of the two said."""

    role: Literal["user", "assistant"]
    content: str


class SavedChat(Config):
    """A file that `/save` writes."""

    version: Literal[1] = Field(alias="minigpt_chat")
    model: str
    """What wrote it: for a person."""
    sha256: str
    system: str
    settings: dict[str, Any]
    messages: list[Message]


class Conversation:
    """One conversation with a model that can be exchanged."""

    def __init__(self, model: Model, settings: dict[str, Any], system: str = "") -> None:
        """Nothing is said yet.

        Raises:
            ParamsError: a setting is not allowed.
        """
        self.messages: list[Message] = []
        self.settings, self.system, self.tries = settings, system, 0
        self.request_behind(settings)
        self.take(model)

    def take(self, model: Model) -> None:
        """Go on with a model. What it read stays in its slot, so a turn reads only what is new."""
        self.template = chat.template_of(Path(model.files.folder))
        self.model, self.scheduler = model, Scheduler(model.engine, model.tokenizer)

    @property
    def answers(self) -> bool:
        """Whether the model was made to answer; a base model only continues what was said."""
        return self.template is not None

    def request_behind(self, settings: dict[str, Any], prompt: tuple[int, ...] = (0,)) -> Request:
        """The request of the next turn.

        Raises:
            ParamsError: a setting is not allowed.
        """
        seed = settings.get("seed", 0)
        turn = {"seed": seed + self.tries} if self.tries and isinstance(seed, int) else {}
        return request_of(settings | turn, prompt)

    def answer(
        self, show: Callable[[str], None], stopped: Callable[[], bool] = lambda: False
    ) -> Choice:
        """Let the model go on behind the messages; `show` gets its text as it comes.

        Raises:
            ParamsError: the model cannot do what the settings ask for.
        """
        said: list[chat.Message] = [
            {"role": message.role, "content": message.content} for message in self.messages
        ]
        if self.system:
            said.insert(0, {"role": "system", "content": self.system})
        prompt = chat.chat_prompt(self.model.tokenizer, self.template, said)
        stops = {"stop_tokens": [*self.settings.get("stop_tokens", ()), *prompt.ends]}
        request = self.request_behind({**self.settings, **stops}, prompt.ids)
        choice = Choice()

        def take(piece: Any) -> None:
            choice.add(piece)
            show(piece.text)

        run(self.scheduler, request, take, stopped)
        self.messages.append(Message(role="assistant", content=choice.text))
        return choice

    def say(self, text: str) -> None:
        """The person said something."""
        self.tries = 0
        self.messages.append(Message(role="user", content=text))

    def retry(self) -> None:
        """Forget the last answer; the next one has another seed.

        Raises:
            ParamsError: there is none.
        """
        if not self.messages:
            raise ParamsError("/retry: nothing was said yet")
        if self.messages[-1].role == "assistant":
            self.messages.pop()
        self.tries += 1

    def set(self, name: str, value: str) -> None:
        """Change a setting.

        Raises:
            ParamsError: there is no such setting, or the value is not allowed.
        """
        name = name.lstrip("-").replace("-", "_")
        if name not in SETTINGS:
            raise ParamsError(f"/set {excerpt(name)}: no such setting{near(name, SETTINGS)}")
        if value.lower() in UNSET:
            changed = {key: kept for key, kept in self.settings.items() if key != name}
        else:
            changed = laid_over(self.settings, {name: read_value(name, value)})
        try:
            self.request_behind(changed)
        except ParamsError as error:
            raise ParamsError(f"/set {error}") from error
        self.settings = changed

    def shown_settings(self) -> dict[str, Any]:
        """What is set."""
        return settings_in(request_of(self.settings))

    def save(self, path: Path) -> None:
        """Write all of it into a file.

        Raises:
            DataError: the file cannot be written, or is something else that would be lost.
        """
        path = at_home(path)
        if path.exists():
            try:
                read_saved(path)
            except DataError as error:
                raise DataError(
                    f"/save {path}: there is a file already, and no saved chat. Give another name"
                ) from error
        if not path.parent.is_dir():
            raise DataError(f"/save {path}: there is no folder {path.parent}. Make it first")
        files = self.model.files
        saved = SavedChat(
            minigpt_chat=1, model=files.name, sha256=files.digest, system=self.system,
            settings=self.settings, messages=self.messages,
        )  # fmt: skip
        with writing(path):
            write_json(path, saved.model_dump(mode="json", by_alias=True))

    def load(self, path: Path) -> SavedChat:
        """Go on with what `save` wrote; the model stays.

        Raises:
            DataError: the file is none.
            ParamsError: a setting in it is not allowed.
        """
        path = at_home(path)
        saved = read_saved(path)
        for name in saved.settings:
            if name not in SETTINGS:
                raise ParamsError(f"/load {path}: {excerpt(name)}: no such setting")
        try:
            request_of(saved.settings)
        except ParamsError as error:
            raise ParamsError(f"/load {path}: {error}") from error
        self.messages, self.system = list(saved.messages), saved.system
        self.settings, self.tries = dict(saved.settings), 0
        return saved

    def reset(self) -> None:
        """Forget what was said; settings and system text stay."""
        self.messages, self.tries = [], 0


def read_value(name: str, value: str) -> Any:
    """A setting's value as a person types it: JSON, or plain text where a text is wanted."""
    if name in CONSTRAINTS:
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        if name == "stop" or not re.fullmatch(r"(?i)[+-]?(nan|inf|infinity)", value):
            return value
        return float(value)


def read_saved(path: Path) -> SavedChat:
    """A file that `/save` wrote.

    Raises:
        DataError: it is none; says what is wrong.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read: {reason}") from error
    if len(data) > LARGEST:
        raise DataError(f"{path}: larger than {size_of(LARGEST)}: no saved chat")
    try:
        value = json.loads(data.decode())
        json.dumps(value, ensure_ascii=False).encode()
        return SavedChat.model_validate(value)
    except ValidationError as error:
        raise DataError(f"{explain(error, SavedChat, str(path))[0]}; not a saved chat") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a saved chat: no JSON in UTF-8") from error
