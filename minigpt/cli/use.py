"""Commands that use a model: generate."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from minigpt.cli.shared import Json, project_registry, show_json, talk
from minigpt.errors import ParamsError
from minigpt.log import printable

if TYPE_CHECKING:
    from minigpt.generation.config import SamplingConfig

MOST = 1_000_000
"""Tokens of one text: hours of work."""
LONGEST_PROMPT = 10_000_000
"""Bytes: /dev/zero has no end."""
Reference = Annotated[
    str, typer.Option("--model", "-m", help="A package folder, champion, 3, minigpt@champion …")
]


def add_to(app: typer.Typer) -> None:
    """Hang the commands of this file on `app`."""
    app.command()(generate)


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="Text to continue; absent or -: stdin.")
    ] = None,
    model: Reference = "champion",
    max_tokens: Annotated[int, typer.Option(min=1, max=MOST, help="Tokens to write.")] = 200,
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Among so many likeliest; 0: all.")] = 50,
    top_p: Annotated[
        float, typer.Option(min=0.01, max=1, help="Among this much probability.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same text.")] = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may repeat.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Continue a text.

    Examples: minigpt generate "My fellow citizens" · echo "ROMEO." | minigpt generate -m 3
    """
    sampling = sampling_of(temperature=temperature, top_k=top_k or None, top_p=top_p)
    if stop and "" in stop:
        raise ParamsError("--stop: an empty text would end at once; leave it out")
    stop = [utf8(text, "--stop") for text in stop or ()]
    prompt = read_prompt() if prompt in (None, "-") else utf8(str(prompt), "the prompt")
    folder = find_package(model)
    from minigpt.generation.engine import TorchEngine
    from minigpt.generation.stream import generate as write
    from minigpt.machine import Machine
    from minigpt.package import load_package

    machine = Machine.load()
    machine.prepare_torch()
    package = load_package(folder, machine.torch_device)
    engine = TorchEngine(package.model)
    seen = printable if sys.stdout.isatty() else str  # a file gets what the model wrote
    start, text = time.perf_counter(), ""
    for piece in write(engine, package.tokenizer, prompt, sampling, max_tokens, seed, stop):
        text += piece
        if not as_json:
            sys.stdout.write(seen((prompt if text == piece else "") + piece))
            sys.stdout.flush()
    seconds = time.perf_counter() - start
    tokens = len(package.tokenizer.encode(text))
    if as_json:
        show_json({"model": model, "prompt": prompt, "text": text, "tokens": tokens, "seed": seed})
        return
    sys.stdout.write("\n")
    if sys.stderr.isatty():
        talk(f"{tokens} tokens · {tokens / seconds:.0f} tokens a second · seed {seed}")


def read_prompt() -> str:
    """The prompt on stdin, without the newline at its end: `echo` and every editor add one.

    Raises:
        ParamsError: there is none, it cannot be read, or it is no UTF-8.
    """
    if sys.stdin.isatty():
        raise ParamsError('give a prompt, such as: minigpt generate "My fellow citizens"')
    try:
        data = sys.stdin.buffer.read(LONGEST_PROMPT + 1)
    except OSError as error:  # opened for writing, a folder
        raise ParamsError(f"stdin cannot be read: {error.strerror or error}") from error
    if len(data) > LONGEST_PROMPT:
        raise ParamsError(
            f"the prompt on stdin is longer than {LONGEST_PROMPT:,} bytes, and only the end of a "
            "prompt is read. Give that: tail -c 10000"
        )
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ParamsError(no_utf8("the prompt on stdin", error)) from error
    return text.removesuffix("\n")


def utf8(argument: str, what: str) -> str:
    """An argument as UTF-8, also where the locale knows none.

    Raises:
        ParamsError: its bytes are something else.
    """
    try:
        return os.fsencode(argument).decode()
    except UnicodeError as error:
        raise ParamsError(no_utf8(what, error)) from error


def no_utf8(what: str, error: UnicodeError) -> str:
    """What to say of bytes that are no text."""
    where = f" (byte {error.start})" if isinstance(error, UnicodeDecodeError) else ""
    return f"{what} is not UTF-8{where}. Convert it, for example: iconv -f latin1 -t utf8"


def sampling_of(**values: float | None) -> "SamplingConfig":
    """How tokens are chosen, checked.

    Raises:
        ParamsError: a value is not allowed.
    """
    from pydantic import ValidationError

    from minigpt.generation.config import SamplingConfig

    try:
        return SamplingConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + "-".join(str(part) for part in first["loc"] or ("temperature",))
        reason = first["msg"].removeprefix("Value error, ")
        raise ParamsError(f"{option.replace('_', '-')}: {reason}") from error


def find_package(reference: str) -> Path:
    """The package folder that a person means by `reference`."""
    if (Path(reference) / "model.json").is_file():
        return Path(reference)
    from minigpt.registry.refs import resolve

    return resolve(project_registry(), reference)
