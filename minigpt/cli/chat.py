"""`minigpt chat`: a conversation with a model, on a terminal or line by line from a pipe."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from minigpt.cli.generate import MaxTokens, Seed, Temperature, TopK, TopP, option
from minigpt.cli.model import (
    Engine,
    Reference,
    find_files,
    handled,
    ignore,
    interruptible,
    load_model,
)
from minigpt.cli.shared import talk
from minigpt.cli.text import no_utf8, utf8
from minigpt.errors import MiniGPTError, ParamsError
from minigpt.files import at_home
from minigpt.log import excerpt, printable

if TYPE_CHECKING:
    from minigpt.cli.conversation import Conversation
    from minigpt.generation.answer import Choice

COMMANDS = {
    "/help": ("", "what can be typed"),
    "/set": ("NAME VALUE", "a setting; none takes it back; /set alone shows all"),
    "/system": ("TEXT", "stands before all that is said; empty: nothing does"),
    "/retry": ("", "another answer to the same"),
    "/reset": ("", "forget what was said"),
    "/save": ("FILE", "keep the conversation"),
    "/load": ("FILE", "go on with one that was kept"),
    "/model": ("REF", "go on with another model"),
    "/quit": ("", "end, as Ctrl-D does"),
}
HISTORY = "MINIGPT_HISTORY"
NO_HISTORY = "none"


def add_to(app: typer.Typer) -> None:
    """Hang the command of this file on `app`."""
    app.command()(chat)


def chat(
    model: Reference = "champion",
    engine: Engine = "auto",
    system: Annotated[str, typer.Option(help="Text that stands before all that is said.")] = "",
    max_tokens: MaxTokens = 200,
    temperature: Temperature = 0.8,
    top_k: TopK = 50,
    top_p: TopP = 0.95,
    seed: Seed = 0,
) -> None:
    """Talk to a model.

    Examples: minigpt chat · minigpt chat -m 3 · echo "My fellow citizens" | minigpt chat

    Enter sends, Alt-Enter or a line that ends in a backslash goes on; /help shows what else can
    be typed. Ctrl-C stops an answer, Ctrl-D ends. From a pipe, each line is a message.
    """
    from minigpt.cli.conversation import Conversation
    from minigpt.generation.settings import request_of

    settings = {
        "max_tokens": max_tokens, "temperature": temperature, "top_k": top_k or None,
        "top_p": top_p, "seed": seed,
    }  # fmt: skip
    request_of(settings, shown=option)
    loaded = load_model(find_files(model, engine))
    conversation = Conversation(loaded, settings, utf8(system, "--system"))
    talk(f"{title(conversation)} · /help")
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    # One that comes just behind an answer, before the next prompt is there, ends nothing either.
    with handled(ignore) if terminal else contextlib.nullcontext():
        for text in typed() if terminal else piped():
            try:
                if not follow(conversation, text, engine):
                    return
            except MiniGPTError as error:
                talk(str(error))


def title(conversation: "Conversation") -> str:
    """Who is there, and what to expect of it."""
    name = conversation.model.files.name
    what = (
        "it answers" if conversation.answers else "a base model: it continues, it does not answer"
    )
    return f"{name} · {what}"


def follow(conversation: "Conversation", text: str, engine: str) -> bool:
    """Do what was typed; false where that is the end.

    Raises:
        MiniGPTError: it cannot be done; nothing was changed.
    """
    if not text.startswith("/") or text.startswith("//"):
        if text.strip():
            conversation.say(text.removeprefix("/") if text.startswith("//") else text)
            speak(conversation)
        return True
    word, _, rest = text.partition(" ")
    word, rest = word.strip(), rest.strip()
    if word not in COMMANDS:
        raise ParamsError(f"{excerpt(word)}: no such command; /help lists them, // begins a text")
    if COMMANDS[word][0] in ("FILE", "REF") and not rest:
        raise ParamsError(f"{word} needs a {COMMANDS[word][0]}")
    if not COMMANDS[word][0] and rest:
        raise ParamsError(f"{word} takes nothing behind it")
    if word == "/quit":
        return False
    if word == "/model":
        exchange(conversation, rest, engine)
    elif word == "/retry":
        conversation.retry()
        speak(conversation)
    else:
        change(conversation, word, rest)
    return True


def change(conversation: "Conversation", word: str, rest: str) -> None:
    """A command after which nothing is written.

    Raises:
        MiniGPTError: it cannot be done.
    """
    if word == "/help":
        for name, (argument, meaning) in COMMANDS.items():
            talk(f"{f'{name} {argument}':<18}{meaning}")
    elif word == "/set":
        name, _, value = rest.partition(" ")
        if value.strip():
            conversation.set(name, value.strip())
        for setting, now in conversation.shown_settings().items():
            if not name or setting == name.lstrip("-").replace("-", "_"):
                talk(f"{setting} {now}")
    elif word == "/system":
        conversation.system = rest
        talk("it stands before all that is said" if rest else "nothing stands before what is said")
    elif word == "/reset":
        conversation.reset()
        talk("nothing was said yet")
    elif word == "/save":
        path = Path(rest)
        conversation.save(path)
        talk(f"{len(conversation.messages)} messages are kept in {path}")
    elif word == "/load":
        saved = conversation.load(Path(rest))
        files = conversation.model.files
        same = saved.sha256 == files.digest
        other = "" if same else f"; {saved.model} wrote them, {files.name} goes on"
        talk(f"{len(saved.messages)} messages{other}")


def exchange(conversation: "Conversation", reference: str, engine: str) -> None:
    """Go on with another model.

    Raises:
        MiniGPTError: it cannot be loaded; the one before stays.
    """
    conversation.take(load_model(find_files(reference, engine)))
    talk(title(conversation))


def speak(conversation: "Conversation") -> None:
    """The model's turn, on stdout as it comes; then one line about it.

    Raises:
        MiniGPTError: the model cannot do what the settings ask for.
    """

    def show(text: str) -> None:
        sys.stdout.write(printable(text))
        sys.stdout.flush()

    start = time.perf_counter()
    with interruptible(second_ends=False) as interrupted:
        choice = conversation.answer(show, interrupted)
    seconds = time.perf_counter() - start
    show("\n")
    talk(f"[{' · '.join(closing(choice, seconds))}]")


def closing(choice: "Choice", seconds: float) -> Iterator[str]:
    """What to say behind an answer."""
    if choice.finish == "cancelled":
        yield "stopped"
    yield f"{choice.written:,} token{'s' * (choice.written != 1)}"
    yield f"{choice.written / seconds:,.0f} tok/s"
    if choice.usage and choice.usage.dropped:
        yield f"the first {choice.usage.dropped:,} tokens of the conversation were not read"
    if choice.usage and choice.usage.rereads:
        yield "beyond the context: the newer half was read again"
    yield "/retry /set temperature 0.5 /save FILE"


def piped() -> Iterator[str]:
    r"""Messages on stdin, a line each; one that ends in \ goes on in the next.

    Raises:
        ParamsError: a line is no UTF-8, or stdin cannot be read.
    """
    begun = ""
    try:
        for number, data in enumerate(sys.stdin.buffer, 1):
            try:
                line = data.decode("utf-8-sig").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ParamsError(no_utf8(f"line {number} on stdin", error)) from error
            if line.endswith("\\"):
                begun += line[:-1] + "\n"
                continue
            yield begun + line
            begun = ""
    except OSError as error:
        raise ParamsError(f"stdin cannot be read: {error.strerror or error}") from error
    if begun:
        yield begun


def typed() -> Iterator[str]:
    """Messages from a terminal, until Ctrl-D."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("enter")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    session: PromptSession[str] = PromptSession(
        multiline=True, key_bindings=keys, history=history(),
        completer=WordCompleter(list(COMMANDS), sentence=True), complete_while_typing=False,
    )  # fmt: skip
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:  # what was typed is dropped
            continue
        except EOFError:
            return


def history() -> Any:
    """What was typed before, in a file that only its owner reads; in memory where none can be."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    if (path := history_path()) is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if os.name == "posix":
            path.chmod(0o600)
    except OSError as error:
        talk(f"{path}: {error.strerror}, so nothing typed is kept. {HISTORY} names another file")
        return InMemoryHistory()
    return FileHistory(str(path))


def history_path() -> Path | None:
    """Where it lies: MINIGPT_HISTORY (none: nowhere), else the user's folder for such files."""
    chosen = os.environ.get(HISTORY)
    if chosen:
        return None if chosen == NO_HISTORY else at_home(chosen)
    name = "LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME"
    home = os.environ.get(name)
    folder = Path(home) if home and Path(home).is_absolute() else at_home("~/.local/state")
    return folder / "minigpt" / "history"
