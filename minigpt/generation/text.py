"""Text as it is written: whole characters only, up to a stop string."""

import codecs
from collections.abc import Sequence


class Characters:
    """Bytes of UTF-8, cut anywhere, to characters; what is no character becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> str:
        """The characters that are complete now."""
        return self._decoder.decode(data)

    def end(self) -> str:
        """What is left of a character that was cut."""
        return self._decoder.decode(b"", final=True)


class Stops:
    """Text up to the first of some stop strings, wherever it is cut.

    An end of the text that may become a stop string is held back until that is known.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held, self.met = stops, "", False

    def feed(self, text: str) -> str:
        """What may be shown now; `met` tells whether a stop string has come."""
        if self.met:
            return ""
        if not self._stops:
            return text
        self._held += text
        if (end := first_of(self._stops, self._held)) is not None:
            self.met = True
            shown, self._held = self._held[:end], ""
            return shown
        safe = len(self._held) - longest_beginning(self._stops, self._held)
        shown, self._held = self._held[:safe], self._held[safe:]
        return shown

    def end(self) -> str:
        """What was held back and is no stop string."""
        shown, self._held = self._held, ""
        return shown


def first_of(stops: Sequence[str], text: str) -> int | None:
    """Where the first stop string in `text` begins."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return min(places, default=None)


def longest_beginning(stops: Sequence[str], text: str) -> int:
    """Length of the longest end of `text` with which a stop string begins."""
    lengths = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return max(lengths, default=0)
