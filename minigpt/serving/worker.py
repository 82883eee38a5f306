"""One model at work: `python -m minigpt.serving.worker`, started by the server.

The main thread turns the scheduler; a thread reads stdin and makes prompts of texts. When stdin
closes the server has gone, or wants no more of it: then it ends at once. Signals of a terminal or
of a service manager are the server's to follow.
"""

import argparse
import json
import os
import queue
import signal
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from pydantic import ValidationError

from minigpt import log
from minigpt.errors import BusyError, DataError, MiniGPTError, ParamsError
from minigpt.generation.chat import ChatPrompt, Message, Template, chat_prompt, template_of
from minigpt.generation.model_files import ModelFiles
from minigpt.generation.models import Model, load
from minigpt.generation.request import Request
from minigpt.generation.scheduler import Job, Scheduler
from minigpt.generation.stream import prompt_ids
from minigpt.machine import Machine
from minigpt.process import quiet_environment
from minigpt.serving.outbox import Outbox
from minigpt.serving.wire import BUSY, PARAMS, Facts, line

LONGEST_PROMPT = 65_536
"""Tokens; the model reads the end of it, and nobody means so many."""
CHAT_TOKENS = 512
"""Of an answer in a conversation for which nobody named a number."""


class Worker:
    """The scheduler of one model, and whom it writes for."""

    def __init__(self, model: Model, template: Template | None, output: BinaryIO) -> None:
        self.model, self.template, self._output = model, template, output
        self.scheduler = Scheduler(model.engine, model.tokenizer)
        self.asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        """What the reading thread has made ready."""
        self._outbox, self._jobs, self._told = Outbox(), dict[int, Job](), dict[str, int]()

    def work(self) -> int:
        """Follow what is asked until the process ends."""
        while True:
            self._follow()
            if self.scheduler.busy:
                self.scheduler.turn()
            if self._outbox.due or not (self.scheduler.busy or self._outbox.empty):
                self._send(pieces=self._outbox.take())

    def prepare(self, asked: dict[str, Any]) -> None:
        """Make a prompt of text, in the reading thread, and hand it on."""
        if asked["do"] == "submit":
            try:
                asked["request"] = self._request(asked)
            except (MiniGPTError, ValidationError) as error:
                asked = {"do": "refuse", "id": asked["id"], "message": _sentence(error)}
        self.asked.put(asked)

    def _request(self, asked: dict[str, Any]) -> Request:
        prompt = self._prompt(asked)
        if len(prompt.ids) > LONGEST_PROMPT:
            raise ParamsError(
                f"the prompt has {len(prompt.ids):,} tokens; give at most {LONGEST_PROMPT:,}. "
                f"The model sees {self.model.engine.context_length:,} at once, the last ones"
            )
        settings = asked["settings"]
        if settings["max_tokens"] is None:
            room = self.model.engine.context_length - len(prompt.ids)
            settings["max_tokens"] = min(CHAT_TOKENS, max(room, 1))
        ends = (*settings.get("stop_tokens", ()), *prompt.ends)
        return Request.model_validate({**settings, "prompt": prompt.ids, "stop_tokens": ends})

    def _prompt(self, asked: dict[str, Any]) -> ChatPrompt:
        tokenizer, prompt = self.model.tokenizer, asked.get("prompt")
        if prompt is None:
            messages: list[Message] = asked["messages"]
            return chat_prompt(tokenizer, self.template, messages)
        if isinstance(prompt, str):
            return ChatPrompt(prompt_ids(tokenizer, prompt))
        return ChatPrompt(tuple(prompt) or (tokenizer.eot_id,))

    def _follow(self) -> None:
        """Everything that was asked meanwhile; where there is nothing to do, wait for it."""
        while not (self.scheduler.busy and self.asked.empty()):
            asked = self.asked.get()
            if asked["do"] == "submit":
                self._submit(asked)
            elif asked["do"] == "cancel":
                if (job := self._jobs.pop(asked["id"], None)) is not None:
                    self.scheduler.cancel(job)
            else:
                self._send(refused=asked["id"], kind=PARAMS, message=asked["message"])
            if not (self.scheduler.busy or self._outbox.empty):
                return

    def _submit(self, asked: dict[str, Any]) -> None:
        number, request = asked["id"], asked["request"]
        try:
            job = self.scheduler.submit(request, lambda piece: self._outbox.add(number, piece))
        except BusyError as error:
            self._send(refused=number, kind=BUSY, message=str(error))
        except MiniGPTError as error:
            self._send(refused=number, kind=PARAMS, message=str(error))
        else:
            self._jobs = {key: old for key, old in self._jobs.items() if not old.done}
            self._jobs[number] = job
            taken: dict[str, Any] = {"taken": number, "max_tokens": request.max_tokens}
            if isinstance(asked.get("prompt"), list):
                taken["text"] = self.model.tokenizer.decode(asked["prompt"])
            self._send(**taken)

    def _send(self, **message: Any) -> None:
        scheduler = self.scheduler
        stats = asdict(scheduler.stats)
        stats |= {"waiting": scheduler.waiting, "working": scheduler.working}
        if stats != self._told:
            message["stats"] = self._told = stats
        self._output.write(line(message))


def read(worker: Worker) -> NoReturn:
    """Hand on what the server asks; its end is this process's end."""
    code = 1
    try:
        for text in sys.stdin.buffer:
            worker.prepare(json.loads(text))
        code = 0
    except Exception:  # noqa: BLE001 (a bug of ours: the main thread would wait for ever)
        traceback.print_exc()
    os._exit(code)


def main() -> int:
    """Load the model and work."""
    parser = argparse.ArgumentParser(prog="python -m minigpt.serving.worker", description=__doc__)
    parser.add_argument("--files", required=True, help="ModelFiles, as JSON")
    parser.add_argument("--slots", type=int, required=True, help="texts at once")
    options = parser.parse_args()
    log.set_name("worker")
    quiet_environment()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # Whatever a library prints goes to stderr: stdout is the server's.
    output = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    files, machine = ModelFiles.from_json(json.loads(options.files)), Machine.load()
    try:
        model = load(files, machine, slots=options.slots)
        template = template_of(Path(files.folder))
    except MiniGPTError as error:
        output.write(line({"failed": str(error), "code": error.exit_code}))
        return error.exit_code
    worker = Worker(model, template, output)
    engine = model.engine
    facts = Facts(
        engine.context_length, engine.vocab_size, machine.threads, chats=template is not None
    )
    output.write(line({"ready": asdict(facts)}))
    threading.Thread(target=read, args=(worker,), name="stdin", daemon=True).start()
    try:
        return worker.work()
    except Exception:  # noqa: BLE001 (a bug: the state of every text may be broken)
        traceback.print_exc()
        os._exit(1)  # the other thread holds stdin


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        return f"{name}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    return str(error) if not isinstance(error, DataError) else f"prompt: {error}"


if __name__ == "__main__":
    sys.exit(main())
