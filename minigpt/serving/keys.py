"""Who may ask: keys from the environment, compared in constant time."""

import hmac
import os
import re
import secrets
from collections.abc import Mapping

from minigpt.errors import ParamsError

VARIABLE = "MINIGPT_API_KEYS"
SHORTEST = 16
"""Characters of a key: 16 random ones of 64 are 96 bits."""
NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
"""Printable ASCII without blanks and commas: what a header can carry and the list can hold."""
FORM = f'{VARIABLE}="alice:KEY,bob:OTHER_KEY"'
PAGE = "ui"
"""The name of what the page itself asks."""


class Keys:
    """Named keys; none: everybody on this machine may ask."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """`keys`: name → key."""
        self._keys = {name: key.encode() for name, key in keys.items()}
        self.page_key = secrets.token_urlsafe(32)
        """With it the page asks its own server; it is nowhere but in this process."""
        self._all = {**self._keys, PAGE: self.page_key.encode()}

    @classmethod
    def load(cls) -> "Keys":
        """Read the environment.

        Raises:
            ParamsError: what stands there is no list of named keys. No key is in the message.
        """
        keys: dict[str, str] = {}
        for number, entry in enumerate(os.environ.get(VARIABLE, "").split(","), 1):
            if not entry.strip():
                continue
            name, colon, key = entry.strip().partition(":")
            if not colon or not NAME.fullmatch(name) or not KEY.fullmatch(key):
                raise ParamsError(f"{VARIABLE}: entry {number} is not NAME:KEY. Form: {FORM}")
            if len(key) < SHORTEST:
                raise ParamsError(
                    f"{VARIABLE}: the key of {name} has {len(key)} characters; at least {SHORTEST} "
                    "are needed. Make one: openssl rand -hex 24"
                )
            if name in keys or name == PAGE or key in keys.values():
                raise ParamsError(f"{VARIABLE}: {name} has a name or a key that is taken already")
            keys[name] = key
        return cls(keys)

    def __bool__(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._keys)

    def holder(self, authorization: str | None) -> str | None:
        """Whose key the header carries (`Bearer KEY`); None: nobody's."""
        scheme, _, given = (authorization or "").partition(" ")
        return self._holder_of(given.strip()) if scheme.lower() == "bearer" else None

    def admits(self, name: str, key: str) -> bool:
        """Whether somebody who logs in on the page is who he says."""
        return self._holder_of(key) == name

    def _holder_of(self, given: str) -> str | None:
        data, holder = given.encode("utf-8", "replace"), None
        for name, key in self._all.items():  # all of them, always: time tells nothing
            if hmac.compare_digest(key, data):
                holder = name
        return holder
