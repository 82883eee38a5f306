"""Text that a person gives to a command, and text that a model gives to a person."""

import os
import sys
from pathlib import Path

from minigpt.errors import ParamsError
from minigpt.log import printable

LONGEST_PROMPT = 10_000_000
"""Bytes: /dev/zero has no end."""


class Texts:
    """Several texts on stdout, one behind the other, each as it comes."""

    def __init__(self, prompt: str, n: int) -> None:
        """Each of the `n` begins with the prompt."""
        # A file gets what the model wrote.
        self._seen = printable if sys.stdout.isatty() else str
        self._prompt, self._n, self._current, self._begun = prompt, n, 0, False
        self._waiting = [""] * n
        self._ended: set[int] = set()

    def add(self, choice: int, text: str, *, ended: bool) -> None:
        """A piece of one text; one whose turn has not come waits."""
        self._waiting[choice] += text
        if ended:
            self._ended.add(choice)
        while self._current < self._n:
            self._show(self._waiting[self._current], self._current in self._ended)
            self._waiting[self._current] = ""
            if self._current not in self._ended:
                return
            self._current += 1
            if self._current < self._n:
                self._write("\n---\n")
                self._begun = False

    def end(self) -> None:
        """The last line ends."""
        self._write("\n")

    def _show(self, text: str, ended: bool) -> None:
        if text or (ended and not self._begun):
            self._write(text if self._begun else self._prompt + text)
            self._begun = True

    def _write(self, text: str) -> None:
        sys.stdout.write(self._seen(text))
        sys.stdout.flush()


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
    return text_in(data, "the prompt on stdin").removesuffix("\n")


def read_text(path: Path, name: str) -> str:
    """The text in a file that an option names.

    Raises:
        ParamsError: it cannot be read, is too long or no UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LONGEST_PROMPT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ParamsError(f"{name} {path}: cannot be read: {reason}") from error
    return text_in(data, f"{name} {path}")


def text_in(data: bytes, what: str) -> str:
    """Bytes as text.

    Raises:
        ParamsError: they are too many, or no UTF-8.
    """
    if len(data) > LONGEST_PROMPT:
        raise ParamsError(
            f"{what} is longer than {LONGEST_PROMPT:,} bytes, and only the end of a "
            "prompt is read. Give that: tail -c 10000"
        )
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ParamsError(no_utf8(what, error)) from error


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
