"""`minigpt generate`: one prompt, or a file of them (batch.py)."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.model import (
    INTERRUPTED,
    Engine,
    Reference,
    find_files,
    interruptible,
    load_model,
)
from minigpt.cli.shared import Json, show_json, talk
from minigpt.cli.text import Texts, read_prompt, read_text, utf8
from minigpt.errors import ParamsError
from minigpt.log import excerpt

if TYPE_CHECKING:
    from minigpt.generation.answer import Answer
    from minigpt.generation.models import Model
    from minigpt.generation.request import Request

MaxTokens = Annotated[int, typer.Option(min=1, help="Tokens to write at most.")]
Temperature = Annotated[float, typer.Option(help="0: always the likeliest token.")]
TopK = Annotated[int, typer.Option(help="Among so many likeliest; 0: all.")]
TopP = Annotated[float, typer.Option(help="Among this much probability.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed writes the same text.")]


def add_to(app: typer.Typer) -> None:
    """Hang the command of this file on `app`."""
    app.command()(generate)


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="Text to continue; absent or -: stdin.")
    ] = None,
    model: Reference = "champion",
    engine: Engine = "auto",
    file: Annotated[
        Path | None, typer.Option(help="A text file whose content is the prompt.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--in", help='Many prompts: lines {"prompt": …}, each with its settings.'),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where their answers go; the same command goes on.")
    ] = None,
    slots: Annotated[int, typer.Option(min=1, max=256, help="Texts at once, of --in.")] = 16,
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = 50,
    top_p: TopP = 0.95,
    min_p: Annotated[
        float, typer.Option(help="Among tokens this many times as likely as the likeliest.")
    ] = 0.0,
    typical_p: Annotated[
        float | None, typer.Option(help="Among tokens of usual surprise, up to this much.")
    ] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1: seldom what was seen; 1: off.")
    ] = 1.0,
    frequency_penalty: Annotated[
        float, typer.Option(help="Taken off as often as a token was written.")
    ] = 0.0,
    presence_penalty: Annotated[
        float, typer.Option(help="Taken off once a token was written.")
    ] = 0.0,
    logit_bias: Annotated[
        list[str] | None, typer.Option(help="ID=BIAS, -100 bans a token; may repeat.")
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Texts to write.")] = 1,
    best_of: Annotated[
        int | None, typer.Option(help="Texts of which the --n likeliest are given.")
    ] = None,
    beams: Annotated[int, typer.Option(help="Above 1: beam search of this width.")] = 1,
    seed: Seed = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End before this text; may repeat.")
    ] = None,
    ignore_end: Annotated[
        bool, typer.Option("--ignore-end", help="Write on where the document would end.")
    ] = False,
    json_schema: Annotated[
        Path | None, typer.Option(help="A file: the text is JSON of this schema.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(help="The text matches this regular expression.")
    ] = None,
    grammar: Annotated[
        Path | None, typer.Option(help="A file: the text is of this grammar (Lark's).")
    ] = None,
    logprobs: Annotated[
        int | None, typer.Option(help="List each token with so many alternatives, in JSON.")
    ] = None,
    guesses: Annotated[
        int, typer.Option(min=0, max=64, help="Tokens read ahead where a text repeats itself.")
    ] = 0,
    as_json: Json = False,
) -> None:
    """Continue a text.

    Examples: minigpt generate "My fellow citizens" · echo "ROMEO." | minigpt generate -m 3 ·
    minigpt generate --in prompts.jsonl --out answers.jsonl
    """
    refuse_several(prompt, file, prompts, out, as_json)
    values: dict[str, Any] = {
        "max_tokens": max_tokens, "seed": seed, "temperature": temperature,
        "top_k": top_k or None, "top_p": top_p, "min_p": min_p, "typical_p": typical_p,
        "repetition_penalty": repetition_penalty, "frequency_penalty": frequency_penalty,
        "presence_penalty": presence_penalty, "logit_bias": biases(logit_bias or ()), "n": n,
        "best_of": best_of, "beams": beams, "ignore_end": ignore_end, "logprobs": logprobs,
        "stop": tuple(utf8(text, "--stop") for text in stop or ()),
        "json_schema": json_schema and read_text(json_schema, "--json-schema"),
        "regex": regex and utf8(regex, "--regex"),
        "grammar": grammar and read_text(grammar, "--grammar"),
    }  # fmt: skip
    from minigpt.generation.settings import request_of

    request = request_of(values, shown=option)
    if prompts is not None and out is not None:
        from minigpt.cli.batch import write_file

        write_file(prompts, out, values, model, engine, slots, guesses)
        return
    if logprobs is not None and not as_json:
        raise ParamsError("--logprobs: only JSON lists them; add --json")
    if file is not None:
        text = read_text(file, "--file").removesuffix("\n")
    else:
        text = read_prompt() if prompt in (None, "-") else utf8(str(prompt), "the prompt")
    loaded = load_model(find_files(model, engine), max(request.choices, request.beams))
    write_one(loaded, text, request, guesses, as_json=as_json)


def refuse_several(
    prompt: str | None, file: Path | None, prompts: Path | None, out: Path | None, as_json: bool
) -> None:
    """Refuse prompts from several places.

    Raises:
        ParamsError: names them.
    """
    given = {"a prompt": prompt, "--file": file, "--in": prompts}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise ParamsError(f"{names[0]} and {names[1]}: give one of them")
    if (prompts is None) != (out is None):
        there, missing = ("--in", "--out") if out is None else ("--out", "--in")
        raise ParamsError(
            f"{there} needs {missing}, as in: minigpt generate --in prompts.jsonl --out "
            "answers.jsonl"
        )
    if prompts is not None and as_json:
        raise ParamsError("--json: the answers of --in are JSON already; leave it out")


def write_one(
    model: "Model", prompt: str, request: "Request", guesses: int, *, as_json: bool
) -> None:
    """Write what the model makes of a prompt, as it comes; or all of it as JSON.

    Raises:
        Exit: Ctrl-C ended it.
        ParamsError: the model cannot do what is asked.
    """
    from minigpt.generation.answer import Answer, run
    from minigpt.generation.piece import Piece
    from minigpt.generation.scheduler import Scheduler
    from minigpt.generation.settings import behind
    from minigpt.generation.stream import prompt_ids

    request = behind(prompt_ids(model.tokenizer, prompt), request)
    scheduler, answer = Scheduler(model.engine, model.tokenizer, guesses=guesses), Answer(request.n)
    shown = Texts(prompt, request.n)

    def take(piece: Piece) -> None:
        answer.add(piece)
        if not as_json:
            shown.add(piece.choice, piece.text, ended=piece.finish is not None)

    start = time.perf_counter()
    with interruptible() as interrupted:
        run(scheduler, request, take, interrupted)
    seconds = time.perf_counter() - start
    if as_json:
        files = model.files
        facts = {"model": files.name, "sha256": files.digest, "engine": files.engine}
        told = answer.as_json(logprobs=request.logprobs is not None)
        show_json({**facts, "prompt": prompt, "seed": request.seed, **told})
    else:
        shown.end()
    tell_what_was_read(model, answer)
    if sys.stderr.isatty() and not as_json:
        speed = f"{answer.written / seconds:,.0f} tokens a second"
        talk(f"{answer.written:,} tokens · {speed} · seed {request.seed}")
    if interrupted():
        raise typer.Exit(INTERRUPTED)


def tell_what_was_read(model: "Model", answer: "Answer") -> None:
    """Say what the model could not see at once."""
    length = model.engine.context_length
    if answer.dropped:
        talk(
            f"the prompt is longer than the {length:,} tokens that the model sees: its first "
            f"{answer.dropped:,} were not read"
        )
    if answer.rereads and sys.stderr.isatty():
        times = f"{answer.rereads:,} times" if answer.rereads > 1 else "once"
        talk(
            f"the text went beyond the {length:,} tokens that the model sees: {times} it read the "
            "newer half again and wrote on"
        )


def option(setting: str) -> str:
    """What the option of a setting is called."""
    return f"--{setting.replace('_', '-')}"


def biases(given: list[str] | tuple[str, ...]) -> dict[int, float]:
    """ID=BIAS, read.

    Raises:
        ParamsError: one is something else, or an id stands twice.
    """
    read: dict[int, float] = {}
    for text in given:
        token, _, bias = text.partition("=")
        try:
            number, value = int(token), float(bias)
        except ValueError as error:
            raise ParamsError(
                f"--logit-bias: {excerpt(text)!r}; expected ID=BIAS, such as 42=-100"
            ) from error
        if number in read:
            raise ParamsError(f"--logit-bias: token {number} stands twice")
        read[number] = value
    return read
