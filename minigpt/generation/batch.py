"""Many prompts from a file into a file: JSON lines in and out, in order, resumed after a kill.

Each answer holds its prompt, its settings and its model, so the file itself tells what it was made
from; nothing in it depends on the batch or the clock, so a resumed file has the bytes of one that
was written in one go.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from minigpt.errors import DataError, ParamsError
from minigpt.files import writing
from minigpt.generation.answer import Answer
from minigpt.generation.model_files import ModelFiles
from minigpt.generation.models import Model
from minigpt.generation.request import Request
from minigpt.generation.scheduler import Scheduler, works_of
from minigpt.generation.settings import behind, laid_over, request_of, settings_in
from minigpt.generation.stream import prompt_ids
from minigpt.log import excerpt, size_of

LONGEST_LINE = 10_000_000
"""Bytes: only the end of a longer prompt would be read."""
AHEAD = 64
"""Texts begun behind the oldest that is not finished, for each slot's one."""
SYNC_SECONDS = 5.0
NOT_OURS = "no answer of minigpt generate"
OTHER_NAME = "Give another name to --out, or move that file away"


@dataclass(frozen=True)
class Line:
    """One prompt of the file."""

    number: int
    """Of the line in the file, from 1."""
    given: dict[str, Any]
    """The JSON object: prompt, perhaps an id, settings."""
    request: Request
    """Its settings, over those of the command; the prompt is not read into ids yet."""

    @property
    def prompt(self) -> str:
        """Its text."""
        return str(self.given["prompt"])

    def asked(self, model: Model) -> Request:
        """The request with the prompt's ids."""
        return behind(prompt_ids(model.tokenizer, self.prompt), self.request)

    def beginning(self) -> bytes:
        """How the line of its answer begins."""
        return f'{{"line": {self.number}, '.encode()

    def answer(self, files: ModelFiles, answer: Mapping[str, Any]) -> bytes:
        """The whole line of its answer."""
        told: dict[str, Any] = {"line": self.number}
        told |= {name: self.given[name] for name in ("id", "prompt") if name in self.given}
        told |= answer
        told |= {"settings": settings_in(self.request), "model": made_by(files)}
        return json.dumps(told, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def made_by(files: ModelFiles) -> dict[str, str]:
    """What an answer says of its model."""
    return {"name": files.name, "sha256": files.digest, "engine": files.engine}


def read_prompts(path: Path, settings: Mapping[str, Any]) -> Iterator[Line]:
    """Each prompt of the file, checked; `settings` hold where a line has none of its own.

    Raises:
        DataError: the file cannot be read, or a line is no prompt: names line, key and what is
            expected.
        ParamsError: a setting is not allowed.
    """
    for number, data in read_bytes(path):
        if data.strip():
            yield line_of(f"{path} line {number}", number, data, settings)


def read_bytes(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers, and lines with what ends them.

    Raises:
        DataError: it cannot be read, or a line is too long.
    """
    try:
        with path.open("rb") as file:
            for number, data in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), 1):
                if len(data) > LONGEST_LINE:
                    raise DataError(
                        f"{path} line {number}: longer than {size_of(LONGEST_LINE)}, and only the "
                        "end of a prompt is read. Give that"
                    )
                yield number, data
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def line_of(where: str, number: int, data: bytes, settings: Mapping[str, Any]) -> Line:
    """The prompt in a line.

    Raises:
        DataError: it is none.
        ParamsError: a setting is not allowed.
    """
    given = object_in(where, data)
    if not isinstance(given.get("prompt"), str):
        raise DataError(f'{where}: prompt: expected a text, as in {{"prompt": "My fellow …"}}')
    try:
        json.dumps(given.get("id"), allow_nan=False)
    except ValueError as error:
        raise DataError(f"{where}: id: a number that is not finite is no JSON") from error
    own = {name: value for name, value in given.items() if name not in ("id", "prompt")}
    request = request_of(laid_over(settings, own), shown=lambda name: f"{where}: {name}")
    return Line(number, given, request)


def object_in(where: str, data: bytes) -> dict[str, Any]:
    """The JSON object in a line.

    Raises:
        DataError: it is none, or nothing that can be written again.
    """
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=no_key_twice)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: not UTF-8 (byte {error.start} of the line)") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{where}: half of a character (a lone surrogate)") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {excerpt(str(error), 200)}") from error
    if not isinstance(value, dict):
        raise DataError(f'{where}: expected an object, as {{"prompt": "My fellow …"}}')
    return value


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises a ValueError where a key stands twice: one would be lost."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {excerpt(repr(twice))} stands twice")
    return value


@dataclass(frozen=True)
class Standing:
    """What is in an answers file already."""

    answers: int
    size: int
    """Bytes of whole lines; behind them is at most one that a kill tore."""


def standing(out: Path, prompts: Iterator[Line], source: Path, files: ModelFiles) -> Standing:
    """Compare the answers that are there with the prompts, the settings and the model of today.

    Raises:
        DataError: the file is none of ours, or made from something else: names what differs.
    """
    if not os.path.lexists(out):
        return Standing(0, 0)
    answers = size = 0
    for number, data in read_answers(out):
        where = f"{out} line {number}"
        line = next(prompts, None)
        if line is None:
            raise DataError(
                f"{where}: an answer too many; {source} has {answers:,} prompts. {OTHER_NAME}"
            )
        if not data.endswith(b"\n"):
            begins = line.beginning()
            if not data.startswith(begins[: len(data)]):
                raise DataError(f"{where}: {NOT_OURS}. {OTHER_NAME}")
            break
        if difference := difference_of(line, data, where, source, files):
            raise DataError(f"{where}: {difference}. {OTHER_NAME}")
        answers, size = answers + 1, size + len(data)
    return Standing(answers, size)


def read_answers(out: Path) -> Iterator[tuple[int, bytes]]:
    """Line numbers and lines; answers may be longer than prompts."""
    try:
        with out.open("rb") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise DataError(f"{out}: cannot be read: {error.strerror or error}") from error


def difference_of(
    line: Line, data: bytes, where: str, source: Path, files: ModelFiles
) -> str | None:
    """What an answer was made from that is not so today, in words."""
    try:
        answer = object_in(where, data)
        number, prompt, before = answer["line"], answer["prompt"], answer["settings"]
        name, sha256, engine = (str(answer["model"][key]) for key in made_by(files))
    except (DataError, KeyError, TypeError):
        return NOT_OURS
    if not isinstance(before, dict):
        return NOT_OURS
    if (sha256, engine) != (files.digest, files.engine):
        today = f"{files.name} ({files.digest[:12]}, {files.engine})"
        return f"{excerpt(f'{name} ({sha256[:12]}, {engine})', 200)} wrote it; this is {today}"
    if number != line.number:
        return f"it answers line {excerpt(str(number))} of {source}, not line {line.number}"
    there = f"{source} line {line.number} has"
    if prompt != line.prompt:
        return f"its prompt is {excerpt(repr(prompt))}; {there} {excerpt(repr(line.prompt))}"
    if (old := answer.get("id")) != (new := line.given.get("id")):
        return f"its id is {excerpt(repr(old))}; {there} {excerpt(repr(new))}"
    settings = settings_in(line.request)
    for key in sorted({*settings, *before}):
        if (old := before.get(key)) != (new := settings.get(key)):
            was = "its default" if old is None else excerpt(repr(old))
            now = "its default" if new is None else excerpt(repr(new))
            return f"it was written with {excerpt(key)} at {was}, and now it is {now}"
    return None


def refuse_impossible(prompts: Iterator[Line], source: Path, model: Model) -> None:
    """Refuse what this model cannot do before anything is computed.

    Raises:
        ParamsError: names the line.
    """
    for line in prompts:
        request = line.request
        if not (
            request.constraint
            or request.stop_tokens
            or request.sampling.logit_bias
            or request.beams > 1
        ):
            continue
        try:
            works_of(line.asked(model), model.engine, model.tokenizer)
        except ParamsError as error:
            raise ParamsError(f"{source} line {line.number}: {error}") from error


def write_answers(
    prompts: Iterator[Line],
    out: Path,
    size: int,
    model: Model,
    scheduler: Scheduler,
    told: Callable[[Answer], None],
    stopped: Callable[[], bool],
) -> bool:
    """Append an answer a prompt, in order, whole lines only; whether all were written.

    `size`: bytes of `out` to keep. `told` gets each answer that was written; `stopped` is asked
    between two steps.

    Raises:
        DataError: the file cannot be written.
    """
    begun = deque[tuple[Line, Answer]]()
    slots, more = model.engine.slots, True
    with writing(out), out.open("ab", buffering=0) as file:
        file.truncate(size)
        synced = time.monotonic()
        try:
            while (more or begun) and not stopped():
                while more and scheduler.waiting < slots and len(begun) < AHEAD * slots:
                    if (line := next(prompts, None)) is None:
                        more = False
                        break
                    answer = Answer(line.request.n)
                    scheduler.submit(line.asked(model), answer.add)
                    begun.append((line, answer))
                scheduler.turn()
                while begun and begun[0][1].done:
                    line, answer = begun.popleft()
                    logprobs = line.request.logprobs is not None
                    data = line.answer(model.files, answer.as_json(logprobs=logprobs))
                    append(file.fileno(), data, size)
                    size += len(data)
                    told(answer)
                if time.monotonic() - synced > SYNC_SECONDS:
                    os.fsync(file.fileno())
                    synced = time.monotonic()
        finally:
            os.fsync(file.fileno())
    return not (more or begun)


def append(descriptor: int, data: bytes, size: int) -> None:
    """Write a line whole behind `size` bytes, or not at all."""
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def remaining(prompts: Iterator[Line], answered: int) -> Iterator[Line]:
    """The prompts behind those that are answered."""
    return islice(prompts, answered, None)
